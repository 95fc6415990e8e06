"""What a schedule is: when something is removed, and how much.

A schedule is a pure function of the position, which is the epoch or the optimizer step. It keeps
no state, sees no model and no trainer. It does not say *what* is removed.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar

from typing_extensions import override

from lightning_prune.arguments import check_integer
from lightning_prune.display.plots import require_axes
from lightning_prune.display.tables import format_table
from lightning_prune.schedules.window import Period, Window

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_FINALS = (0.5, 0.9)  # what a schedule is printed for, as it does not know its final sparsity
_MOST_ROWS = 40
_FINE = 10_000  # steps of the training for which fractions are printed and drawn


class Schedule(ABC):
    """When, and how much: the sparsity in force at every position.

    A leaf says over which `window` it runs and which `level` each due position brings. Between two
    due positions nothing changes. What is due in epoch *e* happens at the start of epoch *e*; what
    is due at step *s* happens after *s* optimizer steps. ``print(schedule)`` shows a table.

    Positions may be given as fractions of the training, whose length is known only when it starts:
    then a schedule can be printed and drawn, and `resolved` makes steps of them.

    Attributes:
        monotone: the sparsity never falls.
        regrows: removed units may come back, in exchange for others.
    """

    monotone: ClassVar[bool] = True
    regrows: ClassVar[bool] = False

    @property
    @abstractmethod
    def window(self) -> Window:
        """The due positions."""

    @abstractmethod
    def level(self, due: int, final: float) -> float:
        """Return the sparsity in force from a due position on.

        Args:
            due: one of the due positions.
            final: the final sparsity, in [0, 1).

        Returns:
            A sparsity in [0, ``final``].
        """

    def exchange(self, position: int) -> float:
        """Return the share of the kept units that is exchanged for removed ones at ``position``.

        Args:
            position: a due position.

        Returns:
            A share in [0, 1); 0 unless the schedule regrows.
        """
        return 0.0

    @property
    def period(self) -> Period:
        """What positions count: ``"epoch"`` or ``"step"``."""
        return self.window.period

    @property
    def first(self) -> int:
        """The first due position."""
        return self.window.start

    @property
    def last(self) -> int:
        """The last due position; nothing changes from here on."""
        return self.window.end

    @property
    def in_fractions(self) -> bool:
        """Whether positions are fractions of the training, of which `resolved` makes steps."""
        return False

    def resolved(self, steps: int) -> Schedule:
        """Return the schedule with optimizer steps in place of fractions of the training.

        Args:
            steps: optimizer steps of the whole training, at least 1.

        Returns:
            A schedule in steps; this one where it has no fractions.

        Raises:
            ValueError: if the last update would not come before the training ends, or if
                different fractions are one step.
        """
        if not self.in_fractions:
            return self
        check_integer("steps", steps, 1, "It is the length of the training in optimizer steps.")
        try:
            schedule = self.in_steps(steps)
        except ValueError as error:
            raise ValueError(
                f"Expected a training that is long enough for {self!r}, but got {steps} optimizer "
                f"steps. {error}"
            ) from error
        if schedule.last >= steps:
            raise ValueError(
                f"Expected `schedule` to end before the training does, after {steps} optimizer "
                f"steps, but got {self!r}, whose last update is due at step {schedule.last}. End "
                "it earlier, or train longer."
            )
        return schedule

    def in_steps(self, steps: int) -> Schedule:
        """Return a schedule in steps; called of a schedule in fractions only.

        Args:
            steps: optimizer steps of the whole training.
        """
        return self

    def refuse_fractions(self) -> None:
        """Refuse to answer for a training of unknown length.

        Raises:
            ValueError: if positions are fractions of it.
        """
        if self.in_fractions:
            raise ValueError(
                f"Expected `schedule` to be in epochs or steps, but got {self!r}, which is in "
                "fractions of a training whose length is not known here. Call "
                "`schedule.resolved(steps)` with its number of optimizer steps."
            )

    def events(self) -> tuple[int, ...]:
        """Return every due position, in order."""
        return self.window.positions

    def due(self, position: int) -> int | None:
        """Return the last due position at or before ``position``, ``None`` before the first."""
        return self.window.due(position)

    def sparsity(self, position: int, final: float) -> float:
        """Return the sparsity in force from ``position`` on.

        Args:
            position: an epoch or a step, as `period` says.
            final: the final sparsity, in [0, 1).

        Returns:
            A sparsity in [0, ``final``]; 0 before the start.
        """
        due = self.due(position)
        return 0.0 if due is None else self.level(due, final)

    def describe(self, final: float) -> str:
        """Return a table of every due position and the sparsity from there on.

        Args:
            final: the final sparsity, in [0, 1).

        Returns:
            A printable table; of a long one the middle is left out.
        """
        return self._table([final], ["sparsity"])

    def plot(self, final: float, axes: Axes | None = None) -> Axes:
        """Draw the sparsity over the positions; needs matplotlib.

        Args:
            final: the final sparsity, in [0, 1).
            axes: where to draw; a new figure if ``None``.

        Returns:
            The axes drawn on; ``axes.figure.savefig(path)`` writes the picture.

        Raises:
            ImportError: if matplotlib is missing.
        """
        axes = require_axes(axes)
        shown = self._shown
        events = [shown.first - 1, *shown.events(), shown.last + 1]
        levels = [shown.sparsity(position, final) for position in events]
        scale = _FINE if self.in_fractions else 1
        axes.step([e / scale for e in events], levels, where="post", label=type(self).__name__)
        axes.set_xlabel(self._unit)
        axes.set_ylabel("sparsity")
        return axes

    @override
    def __repr__(self) -> str:
        """Return the call that makes it, without what is None."""
        given = [f"{name}={value!r}" for name, value in vars(self).items() if value is not None]
        return f"{type(self).__name__}({', '.join(given)})"

    @override
    def __str__(self) -> str:
        return self._table(_FINALS, [f"final {final}" for final in _FINALS])

    def _table(self, finals: Sequence[float], header: Sequence[str]) -> str:
        """Return a column of sparsities for each of ``finals``."""
        shown = self._shown
        scale = _FINE if self.in_fractions else 1
        rows = [
            [f"{p / scale:.12g}", *(f"{shown.sparsity(p, final):.4f}" for final in finals)]
            for p in shown.events()
        ]
        if len(rows) > _MOST_ROWS:
            half = _MOST_ROWS // 2
            rows = [*rows[:half], ["-"] * (1 + len(finals)), *rows[-half:]]
        return format_table([self._unit, *header], rows)

    @property
    def _shown(self) -> Schedule:
        return self.in_steps(_FINE) if self.in_fractions else self

    @property
    def _unit(self) -> str:
        return "fraction of the training" if self.in_fractions else self.period
