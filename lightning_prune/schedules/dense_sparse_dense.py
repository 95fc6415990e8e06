"""Dense training, then sparse training, then dense training again."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

from typing_extensions import override

from lightning_prune.schedules.base import Schedule
from lightning_prune.schedules.window import Window, span


@dataclass(frozen=True)
class DenseSparseDense(Schedule):
    """Train dense, train sparse, train dense again: pruning as a regulariser.

    From the start to the end the final sparsity is in force; from the end on no weight is masked:
    those that were removed train again. The model ends dense.

    Han et al., 2017, "DSD: Dense-Sparse-Dense Training for Deep Neural Networks",
    arXiv:1607.04381. There, weights start again from zero. Here, they start from a tenth of kept
    weights of their parameter, drawn at random: a channel that is zero on all its sides would get
    no gradient. Whole branches (`Layer`) cannot come back.

    Args:
        start_epoch: first sparse epoch, at least 0.
        end_epoch: first epoch that is dense again, after the start.
        start_step: optimizer steps before the sparse ones, at least 0.
        end_step: optimizer steps before those that are dense again, after the start.

    Raises:
        ValueError: unless exactly one pair of bounds is given, in order.

    Examples:
        >>> schedule = DenseSparseDense(start_epoch=2, end_epoch=5)
        >>> [schedule.sparsity(epoch, final=0.5) for epoch in (1, 2, 4, 5)]
        [0.0, 0.5, 0.5, 0.0]
    """

    start_epoch: int | None = None
    end_epoch: int | None = None
    start_step: int | None = None
    end_step: int | None = None

    monotone: ClassVar[bool] = False

    def __post_init__(self) -> None:
        _ = self.window  # which checks the bounds

    @property
    @override
    def window(self) -> Window:
        """The start and the end."""
        bounds = span(self.start_epoch, self.end_epoch, self.start_step, self.end_step, 1)
        return replace(bounds, grid=(bounds.start,))

    @override
    def level(self, due: int, final: float) -> float:
        """Return the final sparsity at the start, 0 at the end."""
        return 0.0 if due == self.end else final
