"""Everything is removed at one position."""

from __future__ import annotations

from dataclasses import dataclass

from typing_extensions import override

from lightning_prune.schedules.base import Schedule
from lightning_prune.schedules.window import Window, moment


@dataclass(frozen=True)
class OneShot(Schedule):
    """Remove everything at one position.

    Give ``epoch`` or ``step``. Scores that need gradients must have seen some, so such a criterion
    cannot be due at position 0.

    Args:
        epoch: the epoch at whose start everything is removed, at least 0.
        step: the number of optimizer steps after which everything is removed, at least 0.

    Raises:
        ValueError: unless exactly one of the two is given, as an integer of at least 0.

    Examples:
        >>> schedule = OneShot(epoch=3)
        >>> [schedule.sparsity(epoch, final=0.5) for epoch in (2, 3, 4)]
        [0.0, 0.5, 0.5]
    """

    epoch: int | None = None
    step: int | None = None

    def __post_init__(self) -> None:
        moment(self.epoch, self.step)

    @property
    @override
    def window(self) -> Window:
        """The one due position."""
        return moment(self.epoch, self.step)

    @override
    def level(self, due: int, final: float) -> float:
        """Return the final sparsity."""
        return final
