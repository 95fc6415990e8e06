"""Centred squares: ``(x - x.mean(dims, keepdim=True)) ** 2``, of which a variance is the mean.

Where a unit of ``x`` is zero, its centred square is not. Yet the mean of them all follows from
those that are left, so that a norm which is written out in a user's code can lose units, too.
"""

from __future__ import annotations

from collections import Counter
from functools import lru_cache

from lightning_prune.coupling.graph import Graph, Node, Ref


@lru_cache(maxsize=16)
def centred_squares(graph: Graph) -> dict[Ref, frozenset[int]]:
    """Find the centred squares of a recording that are used for a mean, and nothing else.

    Args:
        graph: the recording.

    Returns:
        For each, by the value that holds it, the dimensions over which it is centred.
    """
    made = {ref: node for node in graph for ref in node.results}
    uses = Counter([*graph.outputs, *(ref for node in graph for ref in node.inputs)])
    found = {}
    for node in graph:
        if node.name != "aten::mean":
            continue
        square = made.get(node.args[0])
        squared = _squared(square) if square is not None else None
        centred = made.get(squared) if squared is not None else None
        dims = _dims(graph, node)
        is_centred = centred is not None and _is_centred(graph, centred, dims, made)
        if is_centred and uses[node.args[0]] == 1:
            found[node.args[0]] = dims
    return found


def _squared(node: Node) -> Ref | None:
    """Return what a node squares, None if it does something else."""
    first = node.args[0] if node.args and isinstance(node.args[0], Ref) else None
    if node.name == "aten::pow" and node.argument("exponent") == 2:
        return first
    if node.name == "aten::mul" and node.args[:2] == (first, first):
        return first
    return first if node.name == "aten::square" else None


def _is_centred(graph: Graph, node: Node, dims: frozenset[int], made: dict[Ref, Node]) -> bool:
    """Tell whether a node subtracts from a value its own mean over ``dims``."""
    if node.name != "aten::sub" or node.argument("alpha", 1) != 1:
        return False
    x, mean = node.args[:2]
    source = made.get(mean) if isinstance(mean, Ref) else None
    return (
        source is not None
        and source.name == "aten::mean"
        and source.args[0] == x
        and bool(source.argument("keepdim", False))
        and _dims(graph, source) == dims
    )


def _dims(graph: Graph, mean: Node) -> frozenset[int]:
    rank = len(graph[mean.args[0]].shape)
    dims = mean.argument("dim")
    dims = range(rank) if dims is None or dims == [] else dims
    return frozenset(d % rank for d in ([dims] if isinstance(dims, int) else dims))
