"""Ranks: whether all of them hold the same, and fail together."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import lightning as L
import torch


def ranks_agree(trainer: L.Trainer, pl_module: L.LightningModule, checksum: int) -> bool:
    """Return whether every rank has the same checksum.

    All ranks must call this together; all get the same answer, so that none waits for the others.

    Args:
        trainer: the trainer.
        pl_module: the module; its device can communicate.
        checksum: of this rank.

    Returns:
        True if all are the same.
    """
    if trainer.world_size == 1:
        return True
    extremes = torch.tensor([checksum, -checksum], device=pl_module.device)
    reduced = trainer.strategy.reduce(extremes, reduce_op="max")
    return int(reduced[0]) == -int(reduced[1])


@contextmanager
def failing_together(trainer: L.Trainer) -> Iterator[None]:
    """Raise on every rank what is raised on rank zero, at the end of the block.

    Args:
        trainer: the trainer; all ranks enter the block.
    """
    failure: Exception | None = None
    try:
        yield
    except Exception as error:
        failure = error
    failure = trainer.strategy.broadcast(failure)
    if failure is not None:
        raise failure
