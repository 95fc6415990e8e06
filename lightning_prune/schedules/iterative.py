"""Rounds of removal, with time to recover after each."""

from __future__ import annotations

from dataclasses import dataclass

from typing_extensions import override

from lightning_prune.schedules.base import Schedule
from lightning_prune.schedules.window import Window, rounds


@dataclass(frozen=True)
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

    def __post_init__(self) -> None:
        _ = self.window  # which checks the bounds

    @property
    @override
    def window(self) -> Window:
        """The rounds."""
        return rounds(
            self.rounds,
            self.start_epoch,
            self.recovery_epochs,
            self.start_step,
            self.recovery_steps,
        )

    @override
    def level(self, due: int, final: float) -> float:
        """Return the sparsity after the round at ``due``."""
        window = self.window
        done = self.rounds if due == window.end else 1 + window.grid.index(due)
        return final if done == self.rounds else 1.0 - (1.0 - final) ** (done / self.rounds)
