"""Origins: which values of a recorded pass are made without what the model is given."""

from __future__ import annotations

import math
from dataclasses import dataclass

from lightning_prune.coupling.graph import Graph, Ref

_RESIZING = frozenset(
    f"aten::{name}" for name in ("embedding", "expand", "expand_as", "pad", "repeat", "tile")
)

FILLING = frozenset(
    f"aten::{name}"
    for name in (
        "fill full full_like new_full new_ones new_zeros ones ones_like zero zeros zeros_like"
    ).split()
)
"""Operations whose result holds one number, whatever they are given."""


@dataclass(frozen=True)
class Origins:
    """Which values are made without what the model is given.

    Args:
        tables: what is made of parameters, buffers and literal numbers alone. How much of it is
            used may follow from the sizes of the inputs.
        weights: what has numbers and sizes that follow from parameters and buffers alone.
    """

    tables: frozenset[Ref]
    weights: frozenset[Ref]

    @staticmethod
    def of(graph: Graph) -> Origins:
        """Return the origins of the values of a recorded pass."""
        named = {Ref(i) for i, value in enumerate(graph.values) if value.name is not None}
        tables, weights = set(named), set(named)
        for node in graph:
            if node.name in FILLING or tables.issuperset(node.inputs):
                tables.update(node.results)
            if node.inputs and weights.issuperset(node.inputs) and node.name not in _RESIZING:
                size = max(math.prod(graph[ref].shape) for ref in node.inputs)
                same = (ref for ref in node.results if math.prod(graph[ref].shape) == size)
                weights.update(same)
        return Origins(frozenset(tables), frozenset(weights))
