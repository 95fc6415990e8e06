"""What a schedule is: when something is removed, and how much.

A schedule is a pure function of the position, which is the epoch or the optimizer step. It keeps
no state, sees no model and no trainer. It does not say *what* is removed.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar

from typing_extensions import override

from lightning_prune.display.plots import require_axes
from lightning_prune.display.tables import format_table
from lightning_prune.schedules.window import Period, Window

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_FINALS = (0.5, 0.9)  # what a schedule is printed for, as it does not know its final sparsity
_MOST_ROWS = 40


class Schedule(ABC):
    """When, and how much: the sparsity in force at every position.

    A leaf says over which `window` it runs and which `level` each due position brings. Between two
    due positions nothing changes. What is due in epoch *e* happens at the start of epoch *e*; what
    is due at step *s* happens after *s* optimizer steps. ``print(schedule)`` shows a table.

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
    def start(self) -> int:
        """The first due position."""
        return self.window.start

    @property
    def end(self) -> int:
        """The last due position; nothing changes from here on."""
        return self.window.end

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
        events = [self.start - 1, *self.events(), self.end + 1]
        levels = [self.sparsity(position, final) for position in events]
        axes.step(events, levels, where="post", label=type(self).__name__)
        axes.set_xlabel(self.period)
        axes.set_ylabel("sparsity")
        return axes

    @override
    def __str__(self) -> str:
        return self._table(_FINALS, [f"final {final}" for final in _FINALS])

    def _table(self, finals: Sequence[float], header: Sequence[str]) -> str:
        """Return a column of sparsities for each of ``finals``."""
        rows = [
            [str(p), *(f"{self.sparsity(p, final):.4f}" for final in finals)] for p in self.events()
        ]
        if len(rows) > _MOST_ROWS:
            half = _MOST_ROWS // 2
            rows = [*rows[:half], ["-"] * (1 + len(finals)), *rows[-half:]]
        return format_table([self.period, *header], rows)
