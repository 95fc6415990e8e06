"""Ranks: whether all of them hold the same, compared by a checksum."""

from __future__ import annotations

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
