"""Zeros: which values of a recorded pass are zero, whatever the model is given.

Nothing is written down per operation. Each is run on tensors of the recorded shapes: parameters
and buffers as they are, zeros where zero is known, arbitrary numbers elsewhere. What then yields
zeros, yields zeros. A value that only happens to be zero, as behind a dead rectifier, does not
count.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves, tree_map

from lightning_prune.coupling.graph import Graph, Node, Ref, Value
from lightning_prune.modules.seeding import seeded
from lightning_prune.units.zeros import is_zero

_SCALES = (1.0, -1.0)
_MAKES_ZEROS = {"aten::zeros", "aten::zeros_like", "aten::new_zeros"}
_FACTORS = {
    **dict.fromkeys(["aten::linear", "aten::conv1d", "aten::conv2d", "aten::conv3d"], (0, 1)),
    "aten::addmm": (1, 2),
    **dict.fromkeys(["aten::batch_norm", "aten::instance_norm"], (0, 1)),
    **dict.fromkeys(["aten::layer_norm", "aten::group_norm"], (0, 2)),
}
"""Where operations that add something take what they multiply."""
_MULTIPLIES_GROUPS = {"aten::_grouped_mm"}  # leaves rows that no group has as the memory was


def zero_values(graph: Graph, places: Iterable[int], tensors: Mapping[str, Tensor]) -> set[Ref]:
    """Return the values that are zero for any input.

    Args:
        graph: a recorded pass.
        places: of the nodes to look at; what other nodes compute may be anything.
        tensors: every parameter and buffer, by name.

    Returns:
        The parameters and buffers that are zero, and what is zero because of them; nothing where
        zeros of them are divided by zeros.
    """
    places = sorted(places)
    names = {ref: str(graph[ref].name) for place in places for ref in graph.nodes[place].inputs}
    known = {ref: tensors[name] for ref, name in names.items() if name in tensors}
    zeros = {ref for ref, tensor in known.items() if is_zero(tensor)}
    for place in places:
        node = graph.nodes[place]
        if node.writes:
            zeros.difference_update(node.aliases)
        if node.name in _MAKES_ZEROS or (
            not zeros.isdisjoint(node.inputs) and _yields_zeros(graph, node, zeros, known)
        ):
            zeros.update(node.results)
        elif _yields_nan(graph, node, zeros, known):
            return set()  # multiplied with zeros, that makes no zeros
    return zeros


def _yields_zeros(graph: Graph, node: Node, zeros: set[Ref], known: Mapping[Ref, Tensor]) -> bool:
    if node.name in _MULTIPLIES_GROUPS:
        return not zeros.isdisjoint(node.args[:2])
    if zeros.isdisjoint(_factors(node)):
        return False
    runs = (_results(graph, node, zeros, known, scale) for scale in _SCALES)
    return all(results is not None and not any(map(_is_not_zero, results)) for results in runs)


def _yields_nan(graph: Graph, node: Node, zeros: set[Ref], known: Mapping[Ref, Tensor]) -> bool:
    """Tell whether zeros, and weights as they are, yield what is no number, as 0 / 0."""
    if zeros.isdisjoint(node.inputs) or not all(r in zeros or r in known for r in node.inputs):
        return False
    results = _results(graph, node, zeros, known, 1.0) or []
    return any(isinstance(result, Tensor) and bool(result.isnan().any()) for result in results)


def _is_not_zero(result: Any) -> bool:
    """Tell whether a result is not all zeros."""
    return not isinstance(result, Tensor) or bool(result.any())


def _results(
    graph: Graph, node: Node, zeros: set[Ref], known: Mapping[Ref, Tensor], scale: float
) -> list[Any] | None:
    """Return what an operation yields for arbitrary numbers, ``None`` if it takes none."""
    device = next(iter(known.values())).device

    def stand_in(leaf: Any) -> Any:
        if not isinstance(leaf, Ref):
            return leaf
        if leaf in known:
            return known[leaf].clone() if node.writes else known[leaf]
        return _numbers(graph[leaf], 0.0 if leaf in zeros else scale).to(device)

    with seeded(0), torch.no_grad():
        try:
            args, kwargs = tree_map(stand_in, (node.args, node.kwargs))
            return tree_leaves(node.op(*args, **kwargs))
        except (RuntimeError, TypeError, ValueError, NotImplementedError, IndexError):
            return None


def _factors(node: Node) -> list[Ref]:
    """Return the inputs of which one must be zero for results to be: not what is added to them."""
    if node.name not in _FACTORS:
        return node.inputs
    places = _FACTORS[node.name]
    return [ref for at, ref in enumerate(node.args) if at in places and isinstance(ref, Ref)]


def _numbers(value: Value, scale: float) -> Tensor:
    """Return a tensor like a recorded one: of zeros, or of arbitrary numbers that are not zero."""
    if value.number is not None:
        return torch.tensor(value.number, dtype=value.dtype).reshape(value.shape)
    if value.dtype.is_floating_point or value.dtype.is_complex:
        return ((torch.rand(value.shape) + 0.5) * scale).to(value.dtype)
    # Of whole numbers most are indices, of which only small ones are sure to be one.
    return torch.full(value.shape, scale > 0, dtype=value.dtype)
