"""An exponential ramp: every due position removes the same fraction of what remains."""

from __future__ import annotations

import math
from dataclasses import dataclass

from typing_extensions import override

from lightning_prune.schedules.ramp import Ramp


@dataclass(frozen=True, repr=False)
class Exponential(Ramp):
    r"""Remove the same fraction of what remains at every due position: the density decays.

    .. math:: 1 - s(t) = (1 - s_\mathrm{final})^p,
        \quad p = \frac{t - t_0}{t_1 - t_0}

    The sparsity asked for stays the fraction of the whole that is removed in the end.

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
        >>> schedule = Exponential(start_epoch=2, end_epoch=12)
        >>> [round(schedule.sparsity(epoch, final=0.5), 3) for epoch in (2, 7, 12)]
        [0.0, 0.293, 0.5]
    """

    @override
    def ramp(self, progress: float, final: float) -> float:
        """Return one minus the density, which decays exponentially."""
        return 1.0 - math.pow(1.0 - final, progress)
