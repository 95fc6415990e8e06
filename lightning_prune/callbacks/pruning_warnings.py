"""What `Pruning` warns of: updates that wait or are skipped, and a target that is missed."""

from __future__ import annotations

from collections.abc import Sequence

from lightning.pytorch.utilities import rank_zero_warn

from lightning_prune.errors import TargetError
from lightning_prune.schedules import Schedule


def warn_waiting(name: str, schedule: Schedule, due: int) -> None:
    """Warn that an update waits for a gradient to go by."""
    rank_zero_warn(
        f"Expected a finite gradient other than zero before the update of `{name}` at "
        f"{schedule.by} {due}, but got none since the last one. The update waits; check the loss "
        "for NaN and the scale of mixed precision."
    )


def warn_skipped(name: str, schedule: Schedule, due: int, obstacle: TargetError) -> None:
    """Warn that an update is skipped, as everything is frozen.

    Raises:
        TargetError: if it is the last update.
    """
    if due == schedule.end:
        raise obstacle
    rank_zero_warn(f"`{name}` skips its update at {schedule.by} {due}: {obstacle}")


def warn_unfed(name: str, weights: Sequence[str]) -> None:
    """Warn that weights have no scores, as no optimizer brings their gradients."""
    if weights:
        rank_zero_warn(
            f"Expected every weight that `{name}` prunes to be in an optimizer, but got none for "
            f"{', '.join(weights)}: their scores are zero, so they go first. Leave their modules "
            "out (`exclude`), freeze them, or choose a criterion that reads weights."
        )


def warn_missed(name: str, schedule: Schedule, target: float, reached: float) -> None:
    """Warn that the training ended before the last update."""
    rank_zero_warn(
        f"Expected `{name}` to reach sparsity {target} at {schedule.by} {schedule.end}, but got "
        f"{reached:.4f} when the training ended. Train for longer, end the schedule earlier, or "
        "keep other callbacks from stopping early."
    )
