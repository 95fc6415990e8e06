"""A cosine ramp: little is removed at both ends, most in the middle."""

from __future__ import annotations

import math
from dataclasses import dataclass

from typing_extensions import override

from lightning_prune.schedules.ramp import Ramp


@dataclass(frozen=True, repr=False)
class Cosine(Ramp):
    r"""Remove little at both ends and most in the middle.

    .. math:: s(t) = s_\mathrm{final} \, \frac{1 - \cos \pi p}{2},
        \quad p = \frac{t - t_0}{t_1 - t_0}

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
        >>> schedule = Cosine(start_epoch=2, end_epoch=12)
        >>> [round(schedule.sparsity(epoch, final=0.5), 3) for epoch in (2, 7, 12)]
        [0.0, 0.25, 0.5]
    """

    @override
    def ramp(self, progress: float, final: float) -> float:
        """Return half a wave of the cosine."""
        return final * (1.0 - math.cos(math.pi * progress)) / 2.0
