"""Sums and agreement over the processes of `torch.distributed`; by itself, a process agrees."""

from __future__ import annotations

import torch
from torch import Tensor


def in_a_group() -> bool:
    """Return whether there are other processes to talk to."""
    return torch.distributed.is_available() and torch.distributed.is_initialized()


def add_up(tensor: Tensor) -> Tensor:
    """Return the sum of a tensor over all ranks."""
    if in_a_group():
        tensor = tensor.clone()
        torch.distributed.all_reduce(tensor)
    return tensor


def all_agree(number: int, like: Tensor) -> bool:
    """Return whether every rank has the same number; all must call this together.

    Args:
        number: that of this rank.
        like: a tensor on a device that can communicate.
    """
    if not in_a_group():
        return True
    extremes = torch.tensor([number, -number], device=like.device)
    torch.distributed.all_reduce(extremes, op=torch.distributed.ReduceOp.MAX)
    return int(extremes[0]) == -int(extremes[1])
