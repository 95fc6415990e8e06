"""A cubic ramp: much is removed at first, little at the end."""

from __future__ import annotations

from dataclasses import dataclass

from typing_extensions import override

from lightning_prune.schedules.ramp import Ramp


@dataclass(frozen=True, repr=False)
class Cubic(Ramp):
    r"""Remove much at first, when there is most to spare, and little at the end.

    .. math:: s(t) = s_\mathrm{final} \left(1 - (1 - p)^3\right),
        \quad p = \frac{t - t_0}{t_1 - t_0}

    Zhu and Gupta, 2017, "To prune, or not to prune", arXiv:1710.01878.

    Give the bounds in epochs, in steps or as fractions of the training. At the start itself nothing
    is removed yet; the end is always due and brings the final sparsity.

    Args:
        start_epoch: epoch :math:`t_0`, at least 0.
        end_epoch: epoch :math:`t_1`, after the start.
        start_step: optimizer step :math:`t_0`, at least 0.
        end_step: optimizer step :math:`t_1`, after the start.
        start: :math:`t_0` as a fraction of the training, in [0, 1).
        end: :math:`t_1` as a fraction of the training, after the start, in (0, 1).
        every: interval between due positions: in epochs or steps as the bounds, at least 1, and 1
            by default; a fraction of the training, by default a tenth of the way, as they are.

    Raises:
        ValueError: unless exactly one pair of bounds is given, in order, and ``every`` is in its
            range.

    Examples:
        >>> schedule = Cubic(start_epoch=2, end_epoch=12)
        >>> [round(schedule.sparsity(epoch, final=0.5), 3) for epoch in (2, 7, 12)]
        [0.0, 0.438, 0.5]
    """

    @override
    def ramp(self, progress: float, final: float) -> float:
        """Return the final sparsity times one minus the cube of the remaining share."""
        return final * (1.0 - (1.0 - progress) ** 3)
