"""Propagation: carry labels through a recorded graph, one rule per operation.

Rules say what they know through the methods of `Propagation`: planes of their inputs in, planes of
their outputs out, ties and freezes on the way. An operation without a rule freezes whatever it
touches, so that nothing unknown can ever be pruned wrongly.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import replace

import torch
from torch import Tensor

from lightning_prune.coupling.centred import centred_squares
from lightning_prune.coupling.graph import Graph, Node, Ref
from lightning_prune.coupling.labels import OUTPUT, Labels, Plane
from lightning_prune.units.group import Axis

Planes = list[Plane]
Rule = Callable[["Propagation", Node], "Sequence[Planes]"]
"""Takes a node and returns the planes of each of its outputs, in order."""

_STATIC_KINDS = frozenset({"parameter", "buffer", "constant"})

_CUTTING = frozenset(
    f"aten::{name}"
    for name in "slice narrow split split_with_sizes unsafe_split tensor_split".split()
)

_ADDING = frozenset({"aten::add", "aten::sub", "aten::cat", "aten::concat", "aten::stack"})

CREATING: set[str] = set()
"""Operations with a rule that labels its outputs even where no input has a label."""

MOVING: set[str] = set()
"""Operations whose results hold nothing but elements of their first input."""


class Propagation:
    """The labels of every value of one graph.

    Args:
        graph: a recorded forward pass.
        labels: the id space, shared by all graphs of one model.
        rules: by base name of the operation.

    Attributes:
        on_weights: the node at hand computes with parameters, buffers and constants alone.
        hands_over: Python was handed numbers of the data, or sizes that follow from them.
        mapped_to_zero: what is known of operations on single numbers, by their description.
    """

    def __init__(self, graph: Graph, labels: Labels, rules: dict[str, Rule]) -> None:
        self.labels = labels
        self._graph = graph
        self._rules = rules
        self._planes: dict[Ref, Planes] = {}
        self._static: dict[Ref, bool] = {}
        self._origins: dict[Ref, str] = {}
        self._made: dict[Ref, list[Node]] = {}
        for node in graph:
            for ref in (*node.results, *node.aliases):
                self._made.setdefault(ref, []).append(node)
        self._used = {*graph.outputs, *(ref for node in graph for ref in node.inputs)}
        self._whole = {ref for node in graph for ref in node.inputs if node.name not in _CUTTING}
        self._node: Node | None = None
        self.on_weights = False
        self.hands_over = False
        self.mapped_to_zero: dict[str, bool | None] = {}

    def run(self) -> Mapping[Ref, Planes]:
        """Apply the rule of every node in order, then freeze the model's outputs.

        Returns:
            The planes of every value that has any.
        """
        discarded = self._graph.discarded()
        for position, node in enumerate(self._graph):
            self._node = node
            self.on_weights = all(self.is_static(ref) for ref in node.inputs)
            # Dropped results of an operation without weights can have any size: nothing reads them.
            # What is computed element by element still has to be of one size.
            is_unused = position in discarded and not any(map(self.is_static, node.inputs))
            ties = torch.Tag.pointwise in node.op.tags
            with self.labels.discard_labels(but_ties=ties) if is_unused else nullcontext():
                self._label(node)
        self._node, self.on_weights = None, False
        self.freeze_all(self._graph.outputs, OUTPUT)
        return {ref: planes for ref, planes in self._planes.items() if planes}

    def _label(self, node: Node) -> None:
        if node.writes:
            self.labels.unchangeable |= self._fixed(node.inputs[:1])
        outputs = self._apply(node)
        self.hands_over |= node.hands_over and not self.on_weights
        for index, ref in enumerate(node.results):
            self._store(ref, outputs[index] if index < len(outputs) else [])
        self._trace_weights(node)
        self._rewrite_aliases(node)

    def _apply(self, node: Node) -> Sequence[Planes]:
        if node.name not in CREATING and not any(self.planes(ref) for ref in node.inputs):
            return []
        rule = self._rules.get(node.name)
        if rule is None:
            self.freeze_all(node.inputs, "no coupling rule for this operation")
            return []
        outputs = rule(self, node)
        if node.name in MOVING:
            return outputs
        return [[plane if self.on_weights else plane.unfixed() for plane in o] for o in outputs]

    def _store(self, ref: Ref, planes: Planes) -> None:
        self._planes[ref] = []
        for plane in self._without_crossing(planes):
            if self.labels.keeps_trailing(plane.ids):
                plane = self._trailing(plane)
            if not _fits(plane, self.shape(ref)):
                self.freeze(plane.ids, "its labels do not fit the result")
            elif plane.varying:
                self._planes[ref].append(plane)
            if len(plane.varying) > 1:
                self.labels.product(plane.ids)

    def _trailing(self, plane: Plane) -> Plane:
        leading = sorted(plane.varying)[:-1]
        fused = self.fuse(plane, leading, "")
        return plane if fused is None else fused

    def _without_crossing(self, planes: Planes) -> Planes:
        """Drop labels of uniform dimensions that were merged with other labelled ones."""
        if not any(plane.uniform for plane in planes):
            return planes
        kept = []
        for plane in planes:
            crossed = any(q is not plane and q.varying & plane.varying for q in planes)
            if plane.uniform and crossed:
                self.freeze(plane.ids, "merged with another dimension")
            else:
                kept.append(plane)
        return kept

    def _trace_weights(self, node: Node) -> None:
        """Note which results are computed from parameters and buffers alone."""
        for ref in node.results if self.on_weights else (*node.results, *node.aliases):
            self._static[ref] = self.on_weights
        for ref in node.results if self.on_weights else ():
            size = math.prod(self.shape(ref))
            origins = [self.origin(r) for r in node.inputs if math.prod(self.shape(r)) == size]
            if origins and origins[0] is not None:
                self._origins[ref] = origins[0]

    def _rewrite_aliases(self, node: Node) -> None:
        """After an in-place write, other views of the same memory hold something new."""
        zero = all(plane.zero for ref in node.results for plane in self.planes(ref))
        for ref in node.aliases:
            if not zero:
                self._planes[ref] = [replace(p, zero=False) for p in self.planes(ref)]

    # What rules ask.

    @property
    def adds(self) -> bool:
        """Whether the node at hand adds values, or puts them side by side."""
        return self._node is not None and self._node.name in _ADDING

    def shape(self, ref: Ref) -> tuple[int, ...]:
        """Return the sizes of a value."""
        return self._graph[ref].shape

    def dtype(self, ref: Ref) -> torch.dtype:
        """Return the element type of a value."""
        return self._graph[ref].dtype

    def name(self, ref: Ref) -> str | None:
        """Return the state-dict name of a value that is a parameter or buffer."""
        return self._graph[ref].name

    def is_static(self, ref: Ref) -> bool:
        """Tell whether a value is computed from parameters, buffers and constants alone."""
        return self._static.get(ref, self._graph[ref].kind in _STATIC_KINDS)

    def origin(self, ref: Ref) -> str | None:
        """Return the parameter or buffer of as many elements from which a weight is computed."""
        return self._origins.get(ref, self.name(ref))

    def is_used(self, ref: Ref) -> bool:
        """Tell whether an operation reads a value, or the model returns it."""
        return ref in self._used

    def is_seen(self, ref: Ref) -> bool:
        """Tell whether a value holds nothing from outside, such as what numpy computed."""
        # That may hold something of units of which no label tells.
        waiting, known = [ref], {ref}
        while waiting:
            value = waiting.pop()
            if self._graph[value].kind == "constant" and math.prod(self.shape(value)) > 1:
                return False
            more = {one for node in self._made.get(value, ()) for one in node.inputs} - known
            known |= more
            waiting += more
        return True

    def centred(self, ref: Ref) -> frozenset[int]:
        """Return the dimensions over which a value is a centred square; none if it is not one."""
        return centred_squares(self._graph).get(ref, frozenset())

    def holds_of_zeros(self, ref: Ref, plane: Plane) -> bool:
        """Tell whether a value says of each number that it is finite, of zeros where units are."""
        made = self._made.get(ref, ())
        if len(made) != 1 or made[0].name != "aten::isfinite":
            return False
        return any(q.zero and torch.equal(q.ids, plane.ids) for q in self.planes(made[0].inputs[0]))

    def parts(self, ref: Ref, dim: int) -> list[int]:
        """Return the sizes of the parts that operations take of a value along a dimension."""
        rank = len(self.shape(ref))
        cuts = [node for node in self._graph if node.name in _CUTTING and node.args[0] == ref]
        along = [node for node in cuts if node.argument("dim", 0) % rank == dim]
        return [self.shape(part)[dim] for node in along for part in node.results]

    def is_used_whole(self, ref: Ref) -> bool:
        """Tell whether something else than a part of a value is used."""
        return ref in self._whole

    def planes(self, ref: Ref) -> Planes:
        """Return the planes of a value; parameters and buffers get one for each dimension."""
        if ref not in self._planes:
            self._planes[ref] = self._own_planes(ref)
        return self._planes[ref]

    def _own_planes(self, ref: Ref) -> Planes:
        value = self._graph[ref]
        if value.name is None:
            return []
        is_parameter = value.kind == "parameter"
        if not is_parameter:
            self.labels.buffers.add(value.name)
        may_be_zeroed = value.dtype.is_floating_point and value.name not in self.labels.unchangeable
        fixed = frozenset({value.name} if is_parameter or may_be_zeroed else ())
        planes = []
        for dim, size in enumerate(value.shape):
            if size > 1:
                ids = self.labels.axis(Axis(value.name, dim), size)
                shape = [size if d == dim else 1 for d in range(len(value.shape))]
                planes.append(Plane(ids.reshape(shape), zero=is_parameter, fixed=fixed))
        return planes

    def axis_ids(self, ref: Ref, dim: int) -> Tensor | None:
        """Return the ids along one dimension of a value, shape ``[size]``, or None without any.

        A plane that also varies along other dimensions is fused along those first; further planes
        on the same dimension are frozen.
        """
        plane = self.axis_plane(ref, dim)
        return None if plane is None else plane.ids

    def axis_plane(self, ref: Ref, dim: int) -> Plane | None:
        """Return the plane along one dimension of a value, its ids of shape ``[size]``, or None."""
        found = None
        for plane in self.planes(ref):
            if dim not in plane.varying:
                continue
            if found is not None:
                self.freeze(plane.ids, "a second label on one dimension")
                continue
            fused = self.fuse(plane, plane.varying - {dim}, "varies along several dimensions")
            found = None if fused is None else replace(fused, ids=fused.ids.reshape(-1))
        return found

    def _fixed(self, refs: Iterable[Ref]) -> frozenset[str]:
        """Return the parameters and buffers of which alone values are made."""
        return frozenset().union(*(plane.fixed for ref in refs for plane in self.planes(ref)))

    # What rules say.

    def tie(self, first: Tensor, second: Tensor) -> None:
        """Say that ids at the same position of two broadcastable tensors live and die together."""
        self.labels.tie(first, second, same_side=self.on_weights)

    def freeze(self, ids: Tensor, reason: str) -> None:
        """Say that ``ids`` must stay, because of the node at hand."""
        self.labels.freeze(ids, f"{reason} ({self._node})" if self._node is not None else reason)

    def freeze_all(self, refs: Iterable[Ref], reason: str) -> None:
        """Say that every id on these values must stay."""
        for ref in refs:
            for plane in self.planes(ref):
                self.freeze(plane.ids, reason)

    def expose(self, ids: Tensor) -> None:
        """Say that something other than a weight reads the units here: zeros add nothing to it.

        Of a weight itself, what is removed must be zero then, whether it reads or writes.
        """
        self.labels.expose(ids)
        if self.on_weights:
            self.labels.reads_constant(ids)

    def fuse(self, plane: Plane, dims: Iterable[int], reason: str) -> Plane | None:
        """Say that all coordinates along ``dims`` live and die together.

        Args:
            plane: the labels of one value.
            dims: dimensions along which nothing may be removed on its own.
            reason: why; kept when nothing is left that could be removed.

        Returns:
            The plane without variation along ``dims``, or None when it is frozen.
        """
        fused = plane.varying & set(dims)
        if not fused:
            return plane
        first = plane.ids
        for dim in fused:
            first = first.narrow(dim, 0, 1)
        if plane.varying - fused:
            self.tie(plane.ids, first)
            return replace(plane, ids=first)
        self.freeze(plane.ids, reason)
        return None

    def fuse_all(self, planes: Iterable[Plane], dims: Iterable[int], reason: str) -> Planes:
        """Fuse several planes and return those that are left."""
        dims = set(dims)
        fused = [self.fuse(plane, dims, reason) for plane in planes]
        return [plane for plane in fused if plane is not None]

    def keep_leading(self, planes: Iterable[Plane], dim: int) -> Planes:
        """Fuse labels along ``dim`` where they vary along a dimension before it as well.

        Of heads and their features, heads are kept: what works on features is shared by all.

        Args:
            planes: the planes of one value.
            dim: a dimension that is read or written by a weight.

        Returns:
            The planes, of which none varies along ``dim`` and a dimension before it.
        """
        return [
            fused
            for plane in planes
            for dims in [{dim} if min(plane.varying) < dim else set()]
            if (fused := self.fuse(plane, dims, "")) is not None
        ]

    def price(self, weight: Ref, uses: float) -> None:
        """Say that every element of a weight takes part in ``uses`` multiply-adds."""
        name = self.origin(weight)
        if name is not None:
            self.labels.prices[name] = self.labels.prices.get(name, 0.0) + uses


def _fits(plane: Plane, shape: tuple[int, ...]) -> bool:
    """Tell whether labels lie on a value of this shape; a rule that errs there is caught here."""
    return plane.ids.dim() == len(shape) and all(
        labelled in {1, size} for labelled, size in zip(plane.ids.shape, shape, strict=True)
    )
