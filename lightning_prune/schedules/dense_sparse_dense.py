"""Dense training, then sparse training, then dense training again."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar, Self

from typing_extensions import override

from lightning_prune.schedules.base import Schedule
from lightning_prune.schedules.fractions import check_span
from lightning_prune.schedules.window import Window, span


@dataclass(frozen=True, repr=False)
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
        start: fraction of the training before the sparse part, in [0, 1).
        end: fraction of the training before it is dense again, after the start, in (0, 1).

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
    start: float | None = None
    end: float | None = None

    monotone: ClassVar[bool] = False

    def __post_init__(self) -> None:
        if self.in_fractions:
            check_span(self, self.start, self.end)
        else:
            _ = self.window  # which checks the bounds

    @property
    @override
    def window(self) -> Window:
        """The start and the end."""
        self.refuse_fractions()
        bounds = span(self.start_epoch, self.end_epoch, self.start_step, self.end_step, 1)
        return replace(bounds, grid=(bounds.start,))

    @property
    @override
    def in_fractions(self) -> bool:
        """Whether the start or the end is a fraction."""
        return self.start is not None or self.end is not None

    @override
    def in_steps(self, steps: int) -> Self:
        """Return the same schedule in steps."""
        start, end = self.start or 0.0, self.end or 0.0  # both are given, as was checked
        step = {"start_step": round(start * steps), "end_step": round(end * steps)}
        return replace(self, start=None, end=None, **step)

    @override
    def level(self, due: int, final: float) -> float:
        """Return the final sparsity at the start, 0 at the end."""
        return 0.0 if due == self.last else final
