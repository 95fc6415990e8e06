"""The ranking: from scores to removal priorities, under what must hold for the units of a group.

Pure functions of a granularity and an allocation.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from lightning_prune.allocations import Allocation, Global
from lightning_prune.granularities.base import Granularity
from lightning_prune.units.cost import Cost
from lightning_prune.units.group import Group
from lightning_prune.units.scores import comparable_scores


def removal_priorities(
    groups: Sequence[Group],
    scores: Sequence[Tensor],
    dead: Sequence[Tensor],
    shapes: Mapping[str, torch.Size],
    granularity: Granularity,
    allocation: Allocation,
) -> list[Tensor]:
    """Return the removal priorities of all units.

    Args:
        groups: the groups.
        scores: scores of each group's units, each of shape ``[units]``.
        dead: where a unit is removed already, in the same shapes.
        shapes: shape of every parameter, by name.
        granularity: how groups are normalised, and which units must stay because of others.
        allocation: shares the sparsity among the groups.

    Returns:
        Priorities in the same shapes; +inf where a unit must stay, -inf where it is dead.
    """
    normalize = granularity.rules.normalize
    triples = zip(groups, scores, dead, strict=True)
    comparable = _dead_first([comparable_scores(*triple, normalize) for triple in triples], dead)
    priorities = allocation.priorities(comparable, groups, shapes)
    for index, group in enumerate(groups):
        stays = granularity.protected(group, comparable[index])
        if stays is not None:
            priorities[index] = priorities[index].masked_fill(stays, torch.inf)
    return _dead_first(priorities, dead)


def is_additive(granularity: Granularity, allocation: Allocation) -> bool:
    """Return whether scores of units add up over groups, as costs do.

    Only then is what matters least per cost the best to remove. Scores relative to their group do
    not add up: chosen per cost, a few groups of dear units would lose nearly all.
    """
    return granularity.rules.normalize == "none" and isinstance(allocation, Global)


def per_cost(priorities: Sequence[Tensor], cost: Cost) -> list[Tensor]:
    """Return priorities per cost of a unit: of two that matter alike, the dearer one goes first.

    Args:
        priorities: of each group's units, each of shape ``[units]``.
        cost: what units cost.

    Returns:
        In the same shapes. What costs nothing is taken to cost a millionth of the dearest unit.
    """
    none = [0] * len(priorities)
    units = [cost.removed([*none[:i], 1, *none[i + 1 :]]) for i in range(len(none))]
    dearest = max(units)
    if dearest <= 0:
        return list(priorities)
    return [p / max(unit / dearest, 1e-6) for p, unit in zip(priorities, units, strict=True)]


def floors(groups: Sequence[Group], granularity: Granularity, allocation: Allocation) -> list[int]:
    """Return how many units each group keeps at least.

    Args:
        groups: the groups.
        granularity: its floor, and of what the number of kept units is a multiple.
        allocation: its bound on the sparsity of a group.

    Returns:
        Numbers of units.
    """
    least = []
    for group in groups:
        step = math.lcm(granularity.rules.round_to, group.granule)
        bound = math.ceil((1.0 - allocation.max_sparsity) * group.units - 1e-9)
        rounded = min(group.units, -(-bound // step) * step)
        floor = -(-granularity.floor(group) // group.granule) * group.granule
        least.append(max(rounded, min(group.units, floor)))
    return least


def _dead_first(scores: Sequence[Tensor], dead: Sequence[Tensor]) -> list[Tensor]:
    """Return scores with -inf where a unit is dead, so that it is removed first."""
    return [s.masked_fill(d.to(s.device), -torch.inf) for s, d in zip(scores, dead, strict=True)]
