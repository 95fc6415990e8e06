"""Rounds of removal, with time to recover after each."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Self

from typing_extensions import override

from lightning_prune.arguments import check_integer
from lightning_prune.schedules.base import Schedule
from lightning_prune.schedules.fractions import check_fractions
from lightning_prune.schedules.window import Window, rounds


@dataclass(frozen=True, repr=False)
class Iterative(Schedule):
    r"""Remove in rounds, each the same fraction of what remains, and recover between them.

    .. math:: 1 - s_i = (1 - s_\mathrm{final})^{i / n}, \quad i = 1, \dots, n

    Frankle and Carbin, 2019, "The Lottery Ticket Hypothesis", arXiv:1803.03635; the paper also
    rewinds, see `Rewinding`. The sparsity asked for is the fraction of the whole that is removed
    after the last round.

    Args:
        rounds: number of rounds, at least 1.
        start_epoch: epoch of the first round, at least 0.
        recovery_epochs: epochs from one round to the next, at least 1.
        start_step: optimizer step of the first round, at least 0.
        recovery_steps: optimizer steps from one round to the next, at least 1.
        start: the first round as a fraction of the training, in [0, 1).
        recovery: fraction of the training from one round to the next, in (0, 1).

    Raises:
        ValueError: unless exactly one pair is given, in range, and ``rounds`` is at least 1.

    Examples:
        >>> schedule = Iterative(rounds=2, start_epoch=3, recovery_epochs=4)
        >>> [round(schedule.sparsity(epoch, final=0.75), 3) for epoch in (2, 3, 6, 7)]
        [0.0, 0.5, 0.5, 0.75]
    """

    rounds: int
    start_epoch: int | None = None
    recovery_epochs: int | None = None
    start_step: int | None = None
    recovery_steps: int | None = None
    start: float | None = None
    recovery: float | None = None

    def __post_init__(self) -> None:
        if self.in_fractions:
            check_fractions(self, start=self.start, recovery=self.recovery)
            check_integer("rounds", self.rounds, 1, "It is the number of updates.")
            self._check_last()
        else:
            _ = self.window  # which checks the bounds

    @property
    @override
    def window(self) -> Window:
        """The rounds."""
        self.refuse_fractions()
        return rounds(
            self.rounds,
            self.start_epoch,
            self.recovery_epochs,
            self.start_step,
            self.recovery_steps,
        )

    @property
    @override
    def in_fractions(self) -> bool:
        """Whether the first round or the recovery is a fraction."""
        return self.start is not None or self.recovery is not None

    @override
    def in_steps(self, steps: int) -> Self:
        """Return the same rounds in steps."""
        start, recovery = self.start or 0.0, self.recovery or 0.0  # both are given, as was checked
        step = {"start_step": round(start * steps), "recovery_steps": round(recovery * steps)}
        return replace(self, start=None, recovery=None, **step)

    def _check_last(self) -> None:
        last = (self.start or 0.0) + (self.rounds - 1) * (self.recovery or 0.0)
        if last >= 1.0:
            raise ValueError(
                f"Expected the last round before the end of the training, but got {self!r}, "
                f"whose last one comes at {last:.4g} of it. Start earlier, or shorten rounds."
            )

    @override
    def level(self, due: int, final: float) -> float:
        """Return the sparsity after the round at ``due``."""
        window = self.window
        done = self.rounds if due == window.end else 1 + window.grid.index(due)
        return final if done == self.rounds else 1.0 - (1.0 - final) ** (done / self.rounds)
