"""A logistic ramp: slow, then fast, then slow: one cycle of pruning and recovery."""

from __future__ import annotations

import math
from dataclasses import dataclass

from typing_extensions import override

from lightning_prune.schedules.ramp import Ramp

_STEEPNESS = 14.0
_OFFSET = 5.0


@dataclass(frozen=True, repr=False)
class OneCycle(Ramp):
    r"""Remove slowly, then fast, then slowly again, over the whole training.

    .. math:: s(t) = s_\mathrm{final} \, \frac{1 + e^{-\alpha + \beta}}{1 + e^{-\alpha p + \beta}},
        \quad p = \frac{t - t_0}{t_1 - t_0}, \quad \alpha = 14, \beta = 5

    Hubens et al., 2021, "One-Cycle Pruning: Pruning ConvNets Under a Tight Training Budget",
    arXiv:2107.02086. Steepest at :math:`p = \beta / \alpha`, about a third of the way; at the start
    0.7% of the final sparsity is removed at once.

    Give the bounds in epochs, in steps or as fractions of the training. The end is always due and
    brings the final sparsity.

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
        >>> schedule = OneCycle(start_epoch=2, end_epoch=12)
        >>> [round(schedule.sparsity(epoch, final=0.5), 3) for epoch in (2, 7, 12)]
        [0.003, 0.44, 0.5]
    """

    @override
    def ramp(self, progress: float, final: float) -> float:
        """Return the logistic curve, which is 1 at the end."""
        return (
            final
            * (1.0 + math.exp(_OFFSET - _STEEPNESS))
            / (1.0 + math.exp(_OFFSET - _STEEPNESS * progress))
        )
