"""Much at first, little at the end."""

from __future__ import annotations

from dataclasses import dataclass

from lightning_prune.schedules.base import Schedule
from lightning_prune.schedules.window import Window, span


@dataclass(frozen=True)
class Cubic(Schedule):
    r"""Remove much at first, when there is most to spare, and little at the end.

    .. math:: s(t) = s_\mathrm{final} \left(1 - \left(1 - \frac{t - t_0}{t_1 - t_0}\right)^3\right)

    Zhu and Gupta, 2017, "To prune, or not to prune", arXiv:1710.01878.

    Give the bounds in epochs or in steps. At the start itself nothing is removed yet; what is due
    last brings the final sparsity, also where it is off the interval's grid.

    Args:
        start_epoch: epoch :math:`t_0`, at least 0.
        end_epoch: epoch :math:`t_1`, after the start.
        start_step: optimizer step :math:`t_0`, at least 0.
        end_step: optimizer step :math:`t_1`, after the start.
        every: interval between due positions, in the unit of the bounds, at least 1.

    Raises:
        ValueError: unless exactly one pair of bounds is given, in order, and ``every`` is at
            least 1.

    Examples:
        >>> schedule = Cubic(start_epoch=2, end_epoch=12)
        >>> [round(schedule.sparsity(epoch, final=0.5), 3) for epoch in (2, 7, 12)]
        [0.0, 0.438, 0.5]
    """

    start_epoch: int | None = None
    end_epoch: int | None = None
    start_step: int | None = None
    end_step: int | None = None
    every: int = 1

    def __post_init__(self) -> None:
        _ = self.window

    @property
    def window(self) -> Window:
        """The due positions."""
        return span(self.start_epoch, self.end_epoch, self.start_step, self.end_step, self.every)

    def ramp(self, progress: float) -> float:
        """Return one minus the cube of what is left of the way.

        Args:
            progress: share of the way from the start to the end, in [0, 1].

        Returns:
            The share of the final sparsity.
        """
        return 1.0 - (1.0 - progress) ** 3
