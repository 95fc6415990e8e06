"""Schedules that rise along a curve between two bounds."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass, replace
from typing import Self

from typing_extensions import override

from lightning_prune.arguments import check_fraction
from lightning_prune.schedules.base import Schedule
from lightning_prune.schedules.fractions import check_span
from lightning_prune.schedules.window import Window, span


@dataclass(frozen=True, repr=False)
class Ramp(Schedule):
    """A curve from 0 to the final sparsity; what its leaves share are the bounds.

    Args:
        start_epoch: epoch of the start, at least 0.
        end_epoch: epoch of the end, after the start.
        start_step: optimizer step of the start, at least 0.
        end_step: optimizer step of the end, after the start.
        start: the start as a fraction of the training, in [0, 1).
        end: the end as a fraction of the training, after the start, in (0, 1).
        every: interval between due positions: in epochs or steps as the bounds, at least 1, and 1
            by default; a fraction of the training, by default a tenth of the way, as they are.

    Raises:
        ValueError: unless exactly one pair of bounds is given, in order, and ``every`` is in its
            range.
    """

    start_epoch: int | None = None
    end_epoch: int | None = None
    start_step: int | None = None
    end_step: int | None = None
    start: float | None = None
    end: float | None = None
    every: int | float | None = None

    def __post_init__(self) -> None:
        if not self.in_fractions:
            _ = self.window  # which checks the bounds
            return
        check_span(self, self.start, self.end)
        if self.every is not None:
            check_fraction(
                "every", self.every, "(0, 1)", "It is one of the training, as the bounds."
            )

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
        self.refuse_fractions()
        every = 1 if self.every is None else self.every
        return span(self.start_epoch, self.end_epoch, self.start_step, self.end_step, every)

    @property
    @override
    def in_fractions(self) -> bool:
        """Whether the start or the end is a fraction."""
        return self.start is not None or self.end is not None

    @override
    def in_steps(self, steps: int) -> Self:
        """Return the same ramp in steps."""
        start, end = self.start or 0.0, self.end or 0.0  # both are given, as was checked
        every = (end - start) / 10 if self.every is None else self.every
        return replace(
            self,
            start=None,
            end=None,
            start_step=round(start * steps),
            end_step=round(end * steps),
            every=max(1, round(every * steps)),
        )

    @override
    def level(self, due: int, final: float) -> float:
        """Return the ramp; the final sparsity itself, without a rounding error, at the end."""
        window = self.window
        return final if due == window.end else self.ramp(window.progress(due), final)
