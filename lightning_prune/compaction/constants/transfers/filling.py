"""Filling: tensors made on the way, filled with one literal number; and rows of tables."""

from __future__ import annotations

from collections.abc import Mapping

from lightning_prune.compaction.constants.known import fixed, known
from lightning_prune.compaction.constants.origins import FILLING
from lightning_prune.compaction.constants.step import Results, Step, Transfer
from lightning_prune.coupling.graph import Ref


def filling(step: Step) -> Results:
    """Return what is known of a tensor that holds one literal number everywhere."""
    if any(isinstance(step.node.argument(name), Ref) for name in ("value", "fill_value")):
        return []
    return [fixed(step.numbers()[0])]


def rows(step: Step) -> Results:
    """Return what is known of ``y[..., c] = table[i[...], c]``: columns of one number are known."""
    table = step.value(step.node.args[0])
    varies, numbers = ~table.is_uniform([0]), table.numbers[:1]
    return [known(varies[0].expand(step.shape()), numbers[0].expand(step.shape()))]


MADE: Mapping[str, Transfer] = dict.fromkeys(FILLING, filling) | {"aten::embedding": rows}
