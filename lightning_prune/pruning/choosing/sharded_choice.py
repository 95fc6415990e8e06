"""The choice among single weights whose scores are spread over ranks.

The threshold is found by bisection: ranks exchange counts, never scores. Ties are broken as
everywhere: by the order of the groups, then by index.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from lightning_prune.allocations import Global
from lightning_prune.errors import TargetError
from lightning_prune.granularities import Weight
from lightning_prune.modules.shards import (
    gather_over_ranks,
    join_like,
    local,
    max_over_ranks,
    rank_among,
    shard_like,
    sum_over_ranks,
    whole,
)
from lightning_prune.pruning.recipe import Recipe
from lightning_prune.units.cost import Cost, check_reachable
from lightning_prune.units.group import Group


def check_sharded(recipe: Recipe, groups: Sequence[Group], cost: Cost) -> None:
    """Refuse what takes whole weights on one rank, or a sorting of all scores.

    Args:
        recipe: what to prune.
        groups: the groups to prune.
        cost: what units cost.

    Raises:
        TargetError: if it does.
    """
    criterion, granularity, allocation = recipe.criterion, recipe.granularity, recipe.allocation
    single = groups[0].single_weights
    flat = any(member.axis.dim < 0 for group in groups for member in group.parameters)
    wrong = {
        f"{criterion}": not criterion.elementwise or criterion.whole_units,
        f"{granularity}": flat and not (single and type(granularity) is Weight),
        f"{allocation}": single and allocation != Global(),
        "a schedule that regrows": recipe.regrows,
        "units of different cost": single and cost.unit_price is None,
    }
    found = [what for what, refused in wrong.items() if refused]
    if found:
        raise TargetError(
            "Expected what works on shards (a criterion that scores each weight by itself; "
            "Channel(), or Weight() with Global() and of='parameters'), but got "
            f"{', '.join(found)}. Choose one of those, or prune under DDP."
        )


def choose_shards(
    scores: Sequence[Tensor],
    masks: Sequence[Tensor],
    weights: Sequence[Tensor],
    cost: Cost,
    sparsity: float,
) -> list[Tensor]:
    """Choose the single weights to keep.

    Args:
        scores: this rank's part of each weight tensor's scores, flat; float32, finite.
        masks: the masks so far, ``True`` = kept, flat and whole.
        weights: the sharded weight tensors.
        cost: what weights cost, each the same.
        sparsity: the fraction to remove, in [0, 1).

    Returns:
        The new masks, flat and whole, on the CPU.

    Raises:
        TargetError: if the sparsity is out of reach.
    """
    dead = [
        ~shard_like(m.view(w.shape), w).to(w.device).flatten() | (local(w) == 0).flatten()
        for m, w in zip(masks, weights, strict=True)
    ]
    mine = _choose_local(scores, dead, cost, sparsity, weights[0])
    joined = [
        whole(join_like(part.to(torch.uint8), w)).cpu().flatten().bool()
        for part, w in zip(mine, weights, strict=True)
    ]
    # Where all of a tensor was erased, one weight is protected that may have been removed before.
    return [new & old for new, old in zip(joined, masks, strict=True)]


def _choose_local(
    scores: Sequence[Tensor], dead: Sequence[Tensor], cost: Cost, sparsity: float, like: Tensor
) -> list[Tensor]:
    """Return this rank's part of the new masks, flat."""
    priorities = [
        s.masked_fill(d, -torch.inf) + 0.0  # no negative zero
        for s, d in zip(scores, dead, strict=True)
    ]
    _protect_best(priorities, like)
    flat = torch.cat(priorities)
    must_go, may_go = (
        int(sum_over_ranks(flags.sum(), like)) for flags in (flat == -torch.inf, flat != torch.inf)
    )
    price = cost.unit_price or 1.0
    check_reachable(cost, sparsity, may_go * price)
    remove = max(must_go, min(may_go, math.ceil(sparsity * cost.prunable / price - 0.5)))
    if remove == 0:
        return [torch.ones_like(p, dtype=torch.bool) for p in priorities]
    keys = _ordered(flat)
    threshold = _threshold(keys, remove, like)
    below, ties = keys < threshold, keys == threshold
    spare = remove - int(sum_over_ranks(below.sum(), like))
    sizes = [p.numel() for p in priorities]
    gone = [
        b | (t & (t.cumsum(0) + before <= spare))
        for b, t, before in zip(
            below.split(sizes),
            ties.split(sizes),
            _ties_before(ties.split(sizes), like),
            strict=True,
        )
    ]
    return [~removed for removed in gone]


def _protect_best(priorities: Sequence[Tensor], like: Tensor) -> None:
    """Give the best weight of every group the priority +inf, in place.

    Of equal ones the last is the best: on the last rank that has it, the highest index.
    """
    lowest = torch.full((1,), -torch.inf, device=like.device)
    mine = torch.stack([torch.cat([p, lowest]).amax() for p in priorities])
    best = max_over_ranks(mine, like)
    holder = torch.where(mine == best, rank_among(like), -1)
    # A rank that holds nothing of a group does not hold its best.
    holder[torch.tensor([p.numel() == 0 for p in priorities])] = -1
    last = max_over_ranks(holder, like)
    for p, holds in zip(priorities, (last == rank_among(like)).tolist(), strict=True):
        if holds:
            p[p.numel() - 1 - p.flip(0).argmax()] = torch.inf


def _ordered(values: Tensor) -> Tensor:
    """Return integers in the order of float32 values."""
    bits = values.contiguous().view(torch.int32)
    return (bits ^ ((bits >> 31) & 0x7FFFFFFF)).to(torch.int64)


def _threshold(keys: Tensor, count: int, like: Tensor) -> int:
    """Return the ``count``-th lowest key over all ranks."""
    low, high = -(2**31), 2**31 - 1
    while low < high:
        middle = (low + high) // 2
        if int(sum_over_ranks((keys <= middle).sum(), like)) >= count:
            high = middle
        else:
            low = middle + 1
    return low


def _ties_before(ties: Sequence[Tensor], like: Tensor) -> list[int]:
    """Return, for each group, how many ties come before this rank's part of it."""
    counts = gather_over_ranks(torch.stack([t.sum() for t in ties]), like).T  # [groups, ranks]
    before = counts.flatten().cumsum(0).view(counts.shape) - counts
    return [int(n) for n in before[:, rank_among(like)].tolist()]
