"""Readers: the operations whose weights read the units of a group, and what they read.

Only plain products count: what each of their channels reads can be moved into a bias. The numbers
are looked at in float64, while the model runs on several inputs.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch._ops import OpOverload
from typing_extensions import override

from lightning_prune.coupling.forecast import Trace
from lightning_prune.coupling.graph import Graph, Node, Ref
from lightning_prune.coupling.record import OpObserver, composite_operations
from lightning_prune.coupling.rules import RULES
from lightning_prune.errors import ExampleInputsError
from lightning_prune.modules.inputs import ExampleInputs
from lightning_prune.modules.twin import twin
from lightning_prune.runtime.attention import take_sizes_from_tensors
from lightning_prune.units.group import Group, Member

_ROUNDING = 1e-9


@dataclass(frozen=True, eq=False)
class Reader:
    """An operation whose weight reads the units of a group.

    Args:
        index: its place in the recording.
        node: the operation.
        member: the axis of its weight on which the units lie.
        bias: name of its bias.
        mean: without a bias, name of the running mean of the batch norm behind it.
    """

    index: int
    node: Node
    member: Member
    bias: str | None
    mean: str | None

    @property
    def pads(self) -> bool:
        """Whether zeros are put around what is read."""
        padding = self.node.argument("padding", 0)
        return padding not in (0, "valid") and any(_as_list(padding))


class Unfoldable(Exception):  # noqa: N818 it carries the reason, and is never raised out of here
    """Why the units of a group stay."""


def readers_of(group: Group, units: Tensor, trace: Trace) -> list[Reader]:
    """Return everything that reads some units.

    Args:
        group: the group that they are of.
        units: which ones, boolean, shape ``[units]``.
        trace: a recorded pass.

    Returns:
        One reader for each weight.

    Raises:
        Unfoldable: if something reads them that cannot take up a constant.
    """
    if group.exposed is not None and bool((group.exposed & units).any()):
        raise Unfoldable("something other than a weight reads it")
    readers = []
    for member in group.parameters:
        if member.side == "in":
            uses = [
                (index, node)
                for index, node in enumerate(trace.graph.nodes)
                if any(trace.graph[ref].name == member.axis.tensor for ref in node.inputs)
            ]
            if len(uses) != 1 or not _is_plain(uses[0][1], member, trace.graph):
                raise Unfoldable(f"{member.axis.tensor} does not read it in a plain product")
            readers.append(_reader(*uses[0], member, trace.graph))
    if not readers:
        raise Unfoldable("no weight reads it")
    return readers


_IN_DIMS = {
    "aten::linear": 1,
    "aten::conv1d": 1,
    "aten::conv2d": 1,
    "aten::conv3d": 1,
    "aten::addmm": 0,
}


def _is_plain(node: Node, member: Member, graph: Graph) -> bool:
    weight = node.args[2 if node.name == "aten::addmm" else 1] if len(node.args) > 1 else None
    return (
        _IN_DIMS.get(node.name) == member.axis.dim
        and isinstance(weight, Ref)
        and graph[weight].name == member.axis.tensor
        and node.argument("groups", 1) == 1
    )


def _reader(index: int, node: Node, member: Member, graph: Graph) -> Reader:
    bias = node.args[0] if node.name == "aten::addmm" else node.argument("bias")
    name = graph[bias].name if isinstance(bias, Ref) else None
    mean = _running_mean(node, graph) if name is None else None
    if name is None and mean is None:
        raise Unfoldable(f"{member.axis.tensor} has no bias to take it up")
    return Reader(index, node, member, name, mean)


def _running_mean(node: Node, graph: Graph) -> str | None:
    """Return the running mean of the batch norm that alone takes what ``node`` returns."""
    takers = [other for other in graph if node.results[0] in other.inputs]
    if len(takers) != 1 or takers[0].name != "aten::batch_norm":
        return None
    mean = takers[0].argument("running_mean")
    return graph[mean].name if isinstance(mean, Ref) else None


def measure(
    model: nn.Module, inputs: Sequence[ExampleInputs], readers: Sequence[Reader]
) -> dict[int, Tensor]:
    """Return what readers read from each of their channels.

    Args:
        model: the masked model.
        inputs: arguments for its ``forward``.
        readers: of a recording of it.

    Returns:
        For the place of every reader a value of shape ``[channels]``, NaN where it changes; nothing
        if the model does not run in float64.
    """
    if not readers:
        return {}
    copied = twin(model, torch.float64).eval()
    take_sizes_from_tensors(copied)
    found: list[dict[int, Tensor]] = []
    for given in inputs:
        watcher = _Watcher({reader.index: reader for reader in readers})
        given = given.on(copied).map(torch.clone)
        try:
            with torch.random.fork_rng(devices=[]), composite_operations(), watcher:
                given(copied)
        except ExampleInputsError:  # a model that makes float32 tensors on its way
            return {}
        found.append(watcher.found)
    return {index: _common([one.get(index) for one in found]) for index in found[0]}


def _common(values: Sequence[Tensor | None]) -> Tensor:
    known = [value for value in values if value is not None]
    return torch.where(_equal(known[0], known[-1]), known[0], torch.nan)


def _equal(a: Tensor, b: Tensor) -> Tensor:
    return (a - b).abs() <= _ROUNDING * a.abs().clamp_min(1)


class _Watcher(OpObserver):
    """Looks at what operations read, by their place in the recording."""

    def __init__(self, readers: Mapping[int, Reader]) -> None:
        super().__init__(RULES.__contains__)
        self.found: dict[int, Tensor] = {}
        self._readers = readers
        self._index = 0

    @override
    def see(self, func: OpOverload, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Note what the operation reads, if it is one of the readers."""
        reader = self._readers.get(self._index)
        if reader is not None and func is reader.node.op:
            x = args[1 if reader.node.name == "aten::addmm" else 0]
            spatial = len(args[1].shape) - 2 if "conv" in reader.node.name else 0
            channel = x.dim() - 1 - spatial
            others = [d for d in range(x.dim()) if d != channel]
            low, high = x.amin(others), x.amax(others)
            self.found[self._index] = torch.where(_equal(low, high), low, torch.nan).cpu()
        self._index += 1
        return func(*args, **kwargs)


def _as_list(value: Any) -> Iterator[Any]:
    yield from value if isinstance(value, (list, tuple)) else [value]
