"""Shards: what this rank holds of a tensor, and what all ranks hold together.

A sharded tensor is a DTensor as `fully_shard` (FSDP2) makes it: cut along its first dimension, over
one dimension of devices. All functions let whole tensors through.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor

from lightning_prune.errors import TargetError


def is_sharded(tensor: Tensor) -> bool:
    """Return whether no rank holds all of ``tensor``."""
    return hasattr(tensor, "full_tensor")


def local(tensor: Tensor) -> Tensor:
    """Return what this rank holds, in the same memory."""
    part: Tensor = tensor.to_local() if is_sharded(tensor) else tensor  # type: ignore[attr-defined]
    return part


def whole(tensor: Tensor) -> Tensor:
    """Return all of ``tensor``; all ranks must call this together."""
    full: Tensor = tensor.full_tensor() if is_sharded(tensor) else tensor  # type: ignore[attr-defined]
    return full


def shard_like(full: Tensor, like: Tensor) -> Tensor:
    """Return this rank's part of ``full``, if that were sharded as ``like`` is."""
    if not is_sharded(like):
        return full
    mesh: Any = like.device_mesh  # type: ignore[attr-defined]
    rows = -(-full.shape[0] // mesh.size())  # the last ranks may hold fewer, or none
    start = min(mesh.get_local_rank() * rows, full.shape[0])
    return full[start : start + rows]


def join_like(part: Tensor, like: Tensor) -> Tensor:
    """Return the sharded tensor of which ``part`` is this rank's, if ``like`` is sharded."""
    if not is_sharded(like):
        return part
    from torch.distributed.tensor import DTensor

    joined: Tensor = DTensor.from_local(
        part.view(local(like).shape),
        like.device_mesh,  # type: ignore[attr-defined]
        like.placements,  # type: ignore[attr-defined]
        run_check=False,
        shape=like.shape,
        stride=like.stride(),
    )
    return joined


def sum_over_ranks(tensor: Tensor, like: Tensor) -> Tensor:
    """Return the sum of ``tensor`` over the ranks that share ``like``."""
    return _reduce(tensor, like, "SUM")


def max_over_ranks(tensor: Tensor, like: Tensor) -> Tensor:
    """Return the maximum of ``tensor`` over the ranks that share ``like``."""
    return _reduce(tensor, like, "MAX")


def gather_over_ranks(tensor: Tensor, like: Tensor) -> Tensor:
    """Return ``tensor`` of every rank that shares ``like``, stacked in their order."""
    group = like.device_mesh.get_group()  # type: ignore[attr-defined]
    gathered = [torch.empty_like(tensor) for _ in range(torch.distributed.get_world_size(group))]
    torch.distributed.all_gather(gathered, tensor.contiguous(), group=group)
    return torch.stack(gathered)


def rank_among(like: Tensor) -> int:
    """Return this rank's place among those that share ``like``."""
    return int(like.device_mesh.get_local_rank())  # type: ignore[attr-defined]


def check_shards(tensors: Iterable[Tensor]) -> None:
    """Refuse tensors that are not all whole, or all cut along their first dimension alike.

    Args:
        tensors: the parameters to prune.

    Raises:
        TargetError: if they are mixed, or cut in any other way.
    """
    layouts = {str(getattr(t, "placements", "whole")) for t in tensors}
    if layouts in ({"whole"}, {"(Shard(dim=0),)"}):
        return
    raise TargetError(
        "Expected prunable parameters that are all whole, or all sharded along their first "
        f"dimension by `fully_shard` over one dimension of devices, but got {sorted(layouts)}. "
        "Exclude the modules of other layouts, or shard all alike."
    )


def _reduce(tensor: Tensor, like: Tensor, operation: str) -> Tensor:
    if not is_sharded(like):
        return tensor
    reduced = tensor.clone()
    torch.distributed.all_reduce(
        reduced,
        op=getattr(torch.distributed.ReduceOp, operation),
        group=like.device_mesh.get_group(),  # type: ignore[attr-defined]
    )
    return reduced
