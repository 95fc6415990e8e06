"""Sums and agreement over the processes of `torch.distributed`; by itself, a process agrees."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from lightning_prune.errors import PruningError


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


def from_rank_zero(make: Callable[[], list[float]], like: Tensor, length: int) -> list[float]:
    """Return on every rank the numbers that rank zero makes; all must call this together.

    Args:
        make: called on rank zero alone.
        like: a tensor on a device that can communicate.
        length: how many numbers.

    Returns:
        The numbers.

    Raises:
        PruningError: if they could not be made; rank zero raises what went wrong.
    """
    if not in_a_group():
        return make()
    numbers = torch.full((length,), torch.nan, dtype=torch.float64, device=like.device)
    failure: Exception | None = None
    if torch.distributed.get_rank() == 0:
        try:
            numbers.copy_(torch.tensor(make(), dtype=torch.float64))
        except Exception as error:  # the others must not wait
            failure = error
    torch.distributed.broadcast(numbers, 0)
    if failure is not None:
        raise failure
    if bool(numbers.isnan().any()):
        raise PruningError("Expected numbers from rank zero, but got none. See its error.")
    return numbers.tolist()
