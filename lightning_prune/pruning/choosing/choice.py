"""The choice: which units stay, given their priorities and what must hold.

A pure function of numbers. Where the number of kept units must be a multiple, whole bundles of
units are removed.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from lightning_prune.units.cost import Cost, units_to_remove
from lightning_prune.units.masks import keep_highest, protect_best


def choose(
    priorities: Sequence[Tensor],
    cost: Cost,
    sparsity: float,
    floors: Sequence[int],
    steps: Sequence[int] | None = None,
) -> list[Tensor]:
    """Choose the units to keep.

    Args:
        priorities: removal priorities of each group's units, each of shape ``[units]``; +inf
            where a unit must stay, -inf where it must be removed.
        cost: what units cost.
        sparsity: the fraction to remove, in [0, 1).
        floors: how many units each group keeps at least.
        steps: the number of kept units of each group is a multiple of this, or all;
            ``None`` = any number.

    Returns:
        For each group a boolean tensor of shape ``[units]``, ``True`` = kept.

    Raises:
        TargetError: if the sparsity is out of reach.
    """
    protected = protect_best(priorities, floors)
    if steps is None or all(step == 1 for step in steps):
        return keep_highest(protected, units_to_remove(cost, protected, sparsity))
    bundles = [_bundle(p.cpu(), step) for p, step in zip(protected, steps, strict=True)]
    sizes = [torch.bincount(bundle) for bundle in bundles]
    values = [
        _values(p.cpu().double(), bundle, len(size))
        for p, bundle, size in zip(protected, bundles, sizes, strict=True)
    ]
    masks = keep_highest(values, units_to_remove(cost, values, sparsity, sizes))
    return [mask[bundle] for mask, bundle in zip(masks, bundles, strict=True)]


def _bundle(priorities: Tensor, round_to: int) -> Tensor:
    """Return the bundle of each unit, in the order of removal: first the odd ones, then full."""
    units = priorities.numel()
    ranking = torch.empty(units, dtype=torch.int64)
    ranking[torch.argsort(priorities, stable=True)] = torch.arange(units)
    odd = units % round_to
    return (ranking + (round_to - odd if odd else 0)) // round_to


def _values(priorities: Tensor, bundle: Tensor, bundles: int) -> Tensor:
    """Return the priority of each bundle: +inf with any unit that stays, else the mean."""
    alive = priorities != -torch.inf
    total = torch.zeros(bundles, dtype=torch.float64)
    total.index_add_(0, bundle[alive], priorities[alive])
    count = torch.bincount(bundle[alive], minlength=bundles)
    return torch.where(count > 0, total / count.clamp_min(1), -torch.inf)
