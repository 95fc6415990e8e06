"""Masks: from priorities to masks of units, from those to masks of parameters, and back.

Pure functions of groups and tensors; nothing here changes a model. A mask is boolean, ``True`` =
kept. Priorities say what is removed first: the **lowest**.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from functools import reduce

import torch
from torch import Tensor

from lightning_prune.units.group import Axis, Group, Side
from lightning_prune.units.threshold import nth_lowest
from lightning_prune.units.weight_mask import WeightMask
from lightning_prune.units.zeros import where_not_zero


def protect_best(priorities: Sequence[Tensor], floors: Sequence[int] | None = None) -> list[Tensor]:
    """Give the last units to be removed of every group the priority +inf.

    Args:
        priorities: removal priorities of each group's units, each of shape ``[units]``.
        floors: how many units each group keeps at least; ``None`` = one.

    Returns:
        New tensors of the same shapes.
    """
    protected = [p.clone() for p in priorities]
    for p, floor in zip(protected, floors or [1] * len(protected), strict=True):
        # Of equal units those with the highest index, because ties are broken by index.
        if floor == 1:
            p[p.numel() - 1 - p.flip(0).argmax()] = torch.inf
        else:
            p[torch.argsort(p, stable=True)[p.numel() - floor :]] = torch.inf
    return protected


def keep_highest(priorities: Sequence[Tensor], remove: int) -> list[Tensor]:
    """Choose the units to keep, over all groups together.

    Ties are broken by the order of the groups, then by index: the first is removed first.

    Args:
        priorities: removal priorities of each group's units, each of shape ``[units]``; no NaN.
        remove: how many units to remove, in [0, units of all groups].

    Returns:
        For each group a boolean tensor of shape ``[units]``, ``True`` = kept; exactly ``remove``
        entries are ``False``.
    """
    if not remove:
        return [torch.ones_like(p, dtype=torch.bool) for p in priorities]
    # A number of another type would be rounded to that of the tensor that it is compared with.
    dtype = reduce(torch.promote_types, {p.dtype for p in priorities})
    priorities = [p.to(dtype) for p in priorities]
    threshold = nth_lowest(priorities, remove)
    spare = remove - sum(int((p < threshold).count_nonzero()) for p in priorities)
    masks = []
    for p in priorities:
        ties = int((p == threshold).count_nonzero()) if spare else 0
        if ties <= spare:  # all ties go, or none is here
            masks.append(p > threshold if spare else p >= threshold)
        else:
            tied = p == threshold
            masks.append((p > threshold) | (tied & (tied.cumsum(0) > spare)))
        spare -= min(ties, spare)
    return masks


def parameter_masks(
    groups: Sequence[Group],
    unit_masks: Sequence[Tensor],
    shapes: Mapping[str, torch.Size],
    device: torch.device,
) -> dict[str, WeightMask]:
    """Return which elements of the parameters stay when units are removed.

    An element is removed if it writes or reads a removed unit. Of buffers, those are masked that
    are added to what parameters write.

    Args:
        groups: the groups.
        unit_masks: for each group a boolean tensor of shape ``[units]``, ``True`` = kept.
        shapes: shape of every such parameter and buffer, by name.
        device: where to put the masks. Those of single weights share memory with ``unit_masks``
            that lie there.

    Returns:
        Masks of the parameters, by name, for those only of which something is removed.
    """
    along: dict[Axis, Tensor] = {}
    for group, unit_mask in zip(groups, unit_masks, strict=True):
        unit_mask = unit_mask.to(device)
        for member in group.zeroed:
            line = member.spread(unit_mask, elsewhere=True)
            along[member.axis] = along[member.axis] & line if member.axis in along else line
    lines: dict[str, dict[int, Tensor]] = defaultdict(dict)
    for axis, line in along.items():
        if not line.all():
            lines[axis.tensor][axis.dim] = line
    return {name: WeightMask(shapes[name], found) for name, found in lines.items()}


def find_dead(
    groups: Sequence[Group], tensors: Mapping[str, Tensor], round_to: int = 1
) -> list[Tensor]:
    """Find the units that can be removed without a change of what the model computes.

    A unit is dead if every element that writes it is exactly zero and it then reads as zero, if
    every one that reads it is zero and nothing else reads it, or if all are.

    Args:
        groups: the groups.
        tensors: every parameter and buffer, by name.
        round_to: the number of units that are not dead is a multiple of this, or all.

    Returns:
        For each group a boolean tensor of shape ``[units]`` on the CPU, ``True`` = dead.
    """
    lines: dict[Axis, Tensor] = {}
    dead = []
    for group in groups:
        unwritten = _all_zero(group, "out", tensors, lines)
        unread = _all_zero(group, "in", tensors, lines)
        either = _unless(group.constant, unwritten) | _unless(group.exposed, unread)
        granule = math.lcm(group.granule, round_to)
        dead.append(_in_granules((either | (unwritten & unread)).cpu(), granule))
    return dead


def _in_granules(dead: Tensor, granule: int) -> Tensor:
    """Keep the first dead units for as long as a multiple would not be kept."""
    odd = int((~dead).count_nonzero()) % granule
    if odd:
        dead = dead.clone()
        dead[dead.nonzero().flatten()[: granule - odd]] = False
    return dead


def find_erased(groups: Sequence[Group], tensors: Mapping[str, Tensor]) -> list[Tensor]:
    """Find the units whose parameter elements are all zero, on all sides.

    Stricter than `find_dead`: a layer that starts from zero makes the units around it dead, but
    does not erase them.

    Args:
        groups: the groups.
        tensors: every parameter and buffer, by name.

    Returns:
        For each group a boolean tensor of shape ``[units]``, ``True`` = erased.
    """
    lines: dict[Axis, Tensor] = {}
    erased = []
    for group in groups:
        sides = {member.side for member in group.zeroed}
        parts = [_all_zero(group, side, tensors, lines) for side in sorted(sides)]
        none = torch.zeros(group.units, dtype=torch.bool)
        erased.append(torch.stack(parts).all(0) if parts else none)
    return erased


def _all_zero(
    group: Group, side: Side, tensors: Mapping[str, Tensor], lines: dict[Axis, Tensor]
) -> Tensor:
    """Return where a unit has parameter elements on ``side`` and all are zero, ``[units]``."""
    parts = []
    for member in group.zeroed:
        if member.side == side:
            if member.axis not in lines:
                tensor = tensors[member.axis.tensor].detach()
                lines[member.axis] = where_not_zero(tensor, member.axis.dim)
            parts.append(~member.gather(lines[member.axis]).any(1))
    if not parts:
        device = next(iter(tensors.values())).device
        return torch.zeros(group.units, dtype=torch.bool, device=device)
    return torch.stack(parts).all(0)


def _unless(marked: Tensor | None, units: Tensor) -> Tensor:
    """Return ``units`` without those that are marked."""
    return units if marked is None else units & ~marked.to(units.device)
