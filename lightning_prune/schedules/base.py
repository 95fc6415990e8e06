"""What a schedule is: when something is removed, and how much.

A schedule is a pure function of the position, which is the epoch or the optimizer step. It keeps
no state, sees no model and no trainer. It does not say *what* is removed.
"""

from __future__ import annotations

from abc import ABC, abstractmethod

from lightning_prune.schedules.window import Unit, Window
from lightning_prune.tables import format_table


class Schedule(ABC):
    """When, and how much: the share of the final sparsity in force at every position.

    A leaf says over which `window` it runs and along which `ramp`. Between two due positions
    nothing changes. What is due in epoch *e* happens at the start of epoch *e*; what is due at
    step *s* happens after *s* optimizer steps.
    """

    @property
    @abstractmethod
    def window(self) -> Window:
        """The due positions."""

    @abstractmethod
    def ramp(self, progress: float) -> float:
        """Return the share of the final sparsity at ``progress`` through the window.

        Args:
            progress: share of the way from the start to the end, in [0, 1].

        Returns:
            A value in [0, 1] that never falls as ``progress`` grows and is 1 at 1.
        """

    @property
    def by(self) -> Unit:
        """What positions count: ``"epoch"`` or ``"step"``."""
        return self.window.by

    @property
    def start(self) -> int:
        """The first due position."""
        return self.window.start

    @property
    def end(self) -> int:
        """The last due position; the final sparsity is in force from here on."""
        return self.window.end

    def events(self) -> tuple[int, ...]:
        """Return every due position, in order."""
        return self.window.positions

    def due(self, position: int) -> int | None:
        """Return the last due position at or before ``position``, ``None`` before the first."""
        return self.window.due(position)

    def fraction(self, position: int) -> float:
        """Return the share of the final sparsity in force from ``position`` on, in [0, 1].

        Args:
            position: an epoch or a step, as `by` says.

        Returns:
            0 before the start, exactly 1 from the end on, the ramp between.
        """
        due = self.due(position)
        if due is None:
            return 0.0
        return 1.0 if due == self.end else self.ramp(self.window.progress(due))

    def sparsity(self, position: int, final: float) -> float:
        """Return the sparsity in force from ``position`` on.

        Args:
            position: an epoch or a step, as `by` says.
            final: the final sparsity, in [0, 1).

        Returns:
            A sparsity in [0, ``final``].
        """
        return final * self.fraction(position)

    def describe(self, final: float) -> str:
        """Return a table of every due position and the sparsity from there on.

        Args:
            final: the final sparsity, in [0, 1).

        Returns:
            A printable table.
        """
        rows = [[str(p), f"{self.sparsity(p, final):.4f}"] for p in self.events()]
        return format_table([self.by, "sparsity"], rows)
