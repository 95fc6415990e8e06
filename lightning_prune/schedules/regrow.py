"""A fixed sparsity at which weights are exchanged: drop by the criterion, grow by gradient."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

from typing_extensions import override

from lightning_prune.arguments import check_fraction
from lightning_prune.schedules.ramp import Ramp


@dataclass(frozen=True, repr=False)
class Regrow(Ramp):
    r"""Stay at the final sparsity and exchange weights: drop the lowest, grow by gradient.

    At the start the final sparsity is reached at once. At every later due position a share of
    the kept units is exchanged for as many removed ones:

    .. math:: f(t) = \frac{\alpha}{2} \left(1 + \cos \pi p\right),
        \quad p = \frac{t - t_0}{t_1 - t_0}

    What is dropped scores lowest by the criterion (`Magnitude` in the paper); what grows has the
    largest absolute gradient, averaged since the last update, and starts from zero. Evci et al.,
    2020, "Rigging the Lottery: Making All Tickets Winners", arXiv:1911.11134 (RigL).

    For `Weight` and `Block` only: a channel that is zero on all sides has no gradient.

    Args:
        start_epoch: epoch :math:`t_0`, at least 0.
        end_epoch: epoch :math:`t_1`, after the start.
        start_step: optimizer step :math:`t_0`, at least 0.
        end_step: optimizer step :math:`t_1`, after the start.
        start: :math:`t_0` as a fraction of the training, in [0, 1).
        end: :math:`t_1` as a fraction of the training, after the start, in (0, 1).
        every: interval between due positions: in epochs or steps as the bounds, at least 1, and 1
            by default; a fraction of the training, by default a tenth of the way, as they are.
        share: share :math:`\alpha` of the kept units that is exchanged at first, in (0, 1).

    Raises:
        ValueError: unless exactly one pair of bounds is given, in order, and ``every`` and
            ``share`` are in their ranges.

    Examples:
        >>> schedule = Regrow(start_epoch=2, end_epoch=12)
        >>> [schedule.sparsity(epoch, final=0.5) for epoch in (1, 2, 7, 12)]
        [0.0, 0.5, 0.5, 0.5]
        >>> [round(schedule.exchange(epoch), 3) for epoch in (2, 7, 12)]
        [0.0, 0.15, 0.0]
    """

    share: float = 0.3

    regrows: ClassVar[bool] = True

    @override
    def __post_init__(self) -> None:
        super().__post_init__()
        cure = "Of the kept units, it is exchanged at first; the paper has 0.3."
        check_fraction("share", self.share, "(0, 1)", cure)

    @override
    def ramp(self, progress: float, final: float) -> float:
        """Return the final sparsity."""
        return final

    @override
    def exchange(self, position: int) -> float:
        """Return the share of the kept units that is exchanged at ``position``."""
        if position in {self.first, self.last}:
            return 0.0
        return self.share / 2.0 * (1.0 + math.cos(math.pi * self.window.progress(position)))
