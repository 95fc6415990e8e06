"""Everything is removed at one position."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Self

from typing_extensions import override

from lightning_prune.schedules.base import Schedule
from lightning_prune.schedules.fractions import check_fractions
from lightning_prune.schedules.window import Window, moment


@dataclass(frozen=True, repr=False)
class OneShot(Schedule):
    """Remove everything at one position.

    Give ``epoch``, ``step`` or ``at``. Scores that need gradients must have seen some, so such a
    criterion cannot be due at position 0.

    Args:
        epoch: the epoch at whose start everything is removed, at least 0.
        step: the number of optimizer steps after which everything is removed, at least 0.
        at: the fraction of the training after which everything is removed, in [0, 1).

    Raises:
        ValueError: unless exactly one of the three is given, in its range.

    Examples:
        >>> schedule = OneShot(epoch=3)
        >>> [schedule.sparsity(epoch, final=0.5) for epoch in (2, 3, 4)]
        [0.0, 0.5, 0.5]
    """

    epoch: int | None = None
    step: int | None = None
    at: float | None = None

    def __post_init__(self) -> None:
        if self.in_fractions:
            check_fractions(self, at=self.at)
        else:
            _ = self.window  # which checks the position

    @property
    @override
    def window(self) -> Window:
        """The one due position."""
        self.refuse_fractions()
        return moment(self.epoch, self.step)

    @property
    @override
    def in_fractions(self) -> bool:
        """Whether the position is a fraction."""
        return self.at is not None

    @override
    def in_steps(self, steps: int) -> Self:
        """Return the same schedule in steps."""
        return replace(self, at=None, step=round((self.at or 0.0) * steps))

    @override
    def level(self, due: int, final: float) -> float:
        """Return the final sparsity."""
        return final
