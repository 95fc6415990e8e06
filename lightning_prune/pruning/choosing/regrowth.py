"""Regrowth: kept units are exchanged for removed ones, as many in each group.

A pure function of scores and masks.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor


def exchange(
    unit_masks: Sequence[Tensor],
    scores: Sequence[Tensor],
    growth: Sequence[Tensor],
    share: float,
) -> list[Tensor]:
    """Drop the kept units of the lowest scores and grow the removed ones that would grow most.

    What was dropped does not grow in the same exchange; ties are broken by index: the first is
    dropped, and grown, first.

    Args:
        unit_masks: for each group a boolean tensor of shape ``[units]``, ``True`` = kept.
        scores: of all units, higher = keep, in the same shapes.
        growth: of all units, higher = grow, in the same shapes.
        share: of the kept units of each group, rounded down, in [0, 1).

    Returns:
        New masks on the CPU; each group keeps as many units as before.
    """
    out = []
    for before, score, grow in zip(unit_masks, scores, growth, strict=True):
        before = before.cpu()
        after = before.clone()
        count = min(int(share * int(before.sum())), int((~before).sum()))
        alive, dead = before.nonzero().flatten(), (~before).nonzero().flatten()
        after[alive[score.cpu()[alive].argsort(stable=True)[:count]]] = False
        after[dead[grow.cpu()[dead].argsort(descending=True, stable=True)[:count]]] = True
        out.append(after)
    return out
