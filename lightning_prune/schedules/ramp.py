"""Schedules that rise along a curve between two bounds."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass

from typing_extensions import override

from lightning_prune.schedules.base import Schedule
from lightning_prune.schedules.window import Window, span


@dataclass(frozen=True)
class Ramp(Schedule):
    """A curve from 0 to the final sparsity; what its leaves share are the bounds.

    Args:
        start_epoch: epoch of the start, at least 0.
        end_epoch: epoch of the end, after the start.
        start_step: optimizer step of the start, at least 0.
        end_step: optimizer step of the end, after the start.
        every: interval between due positions, in epochs or steps as the bounds, at least 1.

    Raises:
        ValueError: unless exactly one pair of bounds is given, in order, and ``every`` is at
            least 1.
    """

    start_epoch: int | None = None
    end_epoch: int | None = None
    start_step: int | None = None
    end_step: int | None = None
    every: int = 1

    def __post_init__(self) -> None:
        _ = self.window  # which checks the bounds

    @abstractmethod
    def ramp(self, progress: float, final: float) -> float:
        """Return the sparsity at ``progress`` through the window.

        Args:
            progress: share of the way from the start to the end, in [0, 1).
            final: the final sparsity, in [0, 1).

        Returns:
            A value in [0, ``final``] that never falls as ``progress`` grows.
        """

    @property
    @override
    def window(self) -> Window:
        """The due positions."""
        return span(self.start_epoch, self.end_epoch, self.start_step, self.end_step, self.every)

    @override
    def level(self, due: int, final: float) -> float:
        """Return the ramp; the final sparsity itself, without a rounding error, at the end."""
        window = self.window
        return final if due == window.end else self.ramp(window.progress(due), final)
