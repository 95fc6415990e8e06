"""Where in its schedule a training is."""

from __future__ import annotations

import lightning as L

from lightning_prune.schedules.window import Period


def current_position(trainer: L.Trainer, period: Period) -> int:
    """Return the epoch or the optimizer step that a training has reached.

    Args:
        trainer: the trainer.
        period: which of the two.
    """
    return trainer.current_epoch if period == "epoch" else trainer.global_step


def is_trial(trainer: L.Trainer) -> bool:
    """Return whether the trainer only runs a few batches as a test: no schedule would fit."""
    return bool(getattr(trainer, "fast_dev_run", False))
