"""The choice among single weights of equal cost, which may be a billion, or spread over ranks.

Their scores are made a piece at a time, as often as they are needed, and never joined or sorted: a
threshold is found by counting. Ranks exchange counts, never scores. Ties are broken as everywhere:
by the order of the groups, then by index.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor

from lightning_prune.allocations import Global
from lightning_prune.errors import TargetError
from lightning_prune.granularities import Weight
from lightning_prune.modules.shards import (
    gather_over_ranks,
    is_sharded,
    join_like,
    local,
    max_over_ranks,
    rank_among,
    shard_like,
    sum_over_ranks,
    whole,
)
from lightning_prune.modules.tiles import Piece, pieces_of
from lightning_prune.pruning.recipe import Recipe
from lightning_prune.units.cost import Cost, check_reachable
from lightning_prune.units.group import Group

_GOES, _STAYS = -(2**31), 2**31 - 1
_HALF = 2**16


def single_weights(recipe: Recipe, groups: Sequence[Group], cost: Cost) -> bool:
    """Return whether all units are single weights that are ranked together and cost the same.

    Args:
        recipe: what to prune.
        groups: the groups to prune.
        cost: what units cost.
    """
    return (
        all(group.single_weights and len(group.members) == 1 for group in groups)
        and recipe.granularity == Weight()
        and recipe.allocation == Global()
        and cost.unit_price is not None
        and recipe.of != "latency"
    )


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


def choose_weights(
    scores: Callable[[Piece], Tensor],
    kept: Sequence[Tensor],
    removed: Sequence[int],
    weights: Sequence[Tensor],
    cost: Cost,
    sparsity: float,
) -> list[Tensor]:
    """Choose the single weights to keep.

    Args:
        scores: gives the scores of a piece of what this rank holds of the weights, flat; float32,
            finite.
        kept: the masks so far, ``True`` = kept, flat and whole, on the CPU.
        removed: how many weights of each tensor those do not keep.
        weights: the weight tensors.
        cost: what weights cost, each the same.
        sparsity: the fraction to remove, in [0, 1).

    Returns:
        The new masks, flat and whole, on the CPU.

    Raises:
        TargetError: if the sparsity is out of reach.
    """
    parts = [local(w.detach()) for w in weights]
    old = [shard_like(k.view(w.shape), w) for k, w in zip(kept, weights, strict=True)]

    def keys(piece: Piece) -> Tensor:
        part = piece.of(parts)
        dead = part == 0
        if removed[piece.index]:
            dead.logical_or_(piece.of(old).logical_not().to(part.device))
        # The highest key plus one is the lowest: what is dead gets no other.
        most = dead.flatten().view(torch.uint8).to(torch.int32).add_(_STAYS)
        return torch.minimum(_ordered(scores(piece)), most)

    pieces = pieces_of(parts)
    mine = [torch.empty(part.numel(), dtype=torch.bool) for part in parts]
    for piece, stays in _choose(keys, pieces, cost, sparsity, weights[0]):
        here = mine[piece.index][piece.offset : piece.offset + stays.numel()].copy_(stays)
        # Where all of a tensor was erased, one weight is protected that may have been removed
        # before.
        here.logical_and_(piece.of(old).flatten())
    if not is_sharded(weights[0]):
        return mine
    return [
        whole(join_like(part.to(torch.uint8).to(w.device), w)).cpu().flatten().bool()
        for part, w in zip(mine, weights, strict=True)
    ]


def _choose(
    keys: Callable[[Piece], Tensor],
    pieces: Sequence[Piece],
    cost: Cost,
    sparsity: float,
    like: Tensor,
) -> Iterator[tuple[Piece, Tensor]]:
    """Yield every piece of this rank, and which of its weights stay.

    Args:
        keys: gives the keys of a piece: `_GOES` where a weight must go.
        pieces: of all tensors, in order.
        cost: what weights cost, each the same.
        sparsity: the fraction to remove, in [0, 1).
        like: a weight.
    """
    groups = len(cost.units)
    best, dead = _survey(keys, pieces, groups, like)

    def protected(piece: Piece) -> Tensor:
        found = keys(piece)
        if 0 <= best[piece.index] - piece.offset < found.numel():
            found[best[piece.index] - piece.offset] = _STAYS
        return found

    may_go = sum(cost.units) - groups
    price = cost.unit_price or 1.0
    check_reachable(cost, sparsity, may_go * price)
    remove = max(dead, min(may_go, math.ceil(sparsity * cost.prunable / price - 0.5)))
    threshold, spare = (_GOES, 0) if remove == 0 else _threshold(protected, pieces, remove, like)
    before = _ties_before(protected, pieces, groups, threshold, like) if is_sharded(like) else None
    seen = 0
    for piece in pieces:
        if before is not None and piece.start == 0:
            seen = before[piece.index]
        found = protected(piece)
        ties = int((found == threshold).count_nonzero()) if seen < spare else 0
        if ties and ties > spare - seen:
            tied = found == threshold
            yield piece, (found > threshold) | (tied & (tied.cumsum(0) > spare - seen))
        else:
            yield piece, found > threshold if ties else found >= threshold
        seen += ties


def _survey(
    keys: Callable[[Piece], Tensor], pieces: Sequence[Piece], groups: int, like: Tensor
) -> tuple[list[int], int]:
    """Find the best weight of every group, and count the others that must go.

    Of equal ones the last is the best: on the last rank that has it, the highest index.

    Returns:
        For each group the index of its best weight in what this rank holds, -1 if another rank
        holds it; and the number of weights on all ranks.
    """
    highest = torch.full((groups,), _GOES, dtype=torch.int64)
    index = torch.full((groups,), -1, dtype=torch.int64)
    dead = torch.zeros((), dtype=torch.int64)
    for piece in pieces:
        found = keys(piece)
        if not found.numel():
            continue
        dead += (found == _GOES).count_nonzero().cpu()
        top = int(found.amax())
        if top >= highest[piece.index]:
            last = found.numel() - 1 - int((found == top).to(torch.uint8).flip(0).argmax())
            highest[piece.index], index[piece.index] = top, piece.offset + last
    mine = highest.to(like.device)
    best = max_over_ranks(mine, like)
    if is_sharded(like):
        # A rank that holds nothing of a group does not hold its best.
        holds = (mine == best) & (index >= 0).to(mine.device)
        last_rank = max_over_ranks(torch.where(holds, rank_among(like), -1), like)
        index[(last_rank != rank_among(like)).cpu()] = -1
    erased = int((best == _GOES).count_nonzero())
    return index.tolist(), int(sum_over_ranks(dead.to(like.device), like)) - erased


def _ordered(scores: Tensor) -> Tensor:
    """Return int32 keys in the order of float32 scores; both zeros are one."""
    bits = (scores + 0.0).view(torch.int32)
    return bits.bitwise_xor_((bits >> 31).bitwise_and_(0x7FFFFFFF))


def _threshold(
    keys: Callable[[Piece], Tensor], pieces: Sequence[Piece], count: int, like: Tensor
) -> tuple[int, int]:
    """Return the ``count``-th lowest key of all ranks, and how many keys of that value go.

    The upper halves of the keys are counted first, then the lower halves of those that share the
    one that is found.
    """
    upper, left = _counted(lambda found: found >> 16, -_HALF // 2, keys, pieces, count, like)

    def lower_halves(found: Tensor) -> Tensor:
        return torch.where((found >> 16) == upper, found & (_HALF - 1), -1)

    lower, left = _counted(lower_halves, 0, keys, pieces, left, like)
    return upper * _HALF + lower, left


def _counted(
    values: Callable[[Tensor], Tensor],
    lowest: int,
    keys: Callable[[Piece], Tensor],
    pieces: Sequence[Piece],
    count: int,
    like: Tensor,
) -> tuple[int, int]:
    """Return the ``count``-th lowest of 65536 values, and its place among its equals.

    Args:
        values: makes them of keys; one below the lowest does not count.
        lowest: of the values.
        keys: gives the keys of a piece.
        pieces: of all tensors.
        count: at least 1.
        like: a weight.
    """
    found = torch.zeros(_HALF + 1, dtype=torch.int64, device=like.device)
    for piece in pieces:
        found += torch.bincount(values(keys(piece)).sub_(lowest - 1), minlength=_HALF + 1)
    upto = sum_over_ranks(found[1:], like).cumsum(0).cpu()
    value = int(torch.searchsorted(upto, count))
    return value + lowest, count - (int(upto[value - 1]) if value else 0)


def _ties_before(
    keys: Callable[[Piece], Tensor],
    pieces: Sequence[Piece],
    groups: int,
    threshold: int,
    like: Tensor,
) -> list[int]:
    """Return, for each group, how many ties come before this rank's part of it."""
    ties = torch.zeros(groups, dtype=torch.int64, device=like.device)
    for piece in pieces:
        ties[piece.index] += (keys(piece) == threshold).count_nonzero()
    if not is_sharded(like):
        return (ties.cumsum(0) - ties).tolist()
    counts = gather_over_ranks(ties, like).T  # [groups, ranks]
    before = counts.flatten().cumsum(0).view(counts.shape) - counts
    return [int(n) for n in before[:, rank_among(like)].tolist()]
