"""The progress through the schedule: which updates are done, and how far the next may go."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from lightning_prune.schedules import Schedule


@dataclass
class Progress:
    """Which updates of the masks are done, and how far the next may go.

    Args:
        due: the last position at which an update was due.
        done: the last position whose update is done; less than ``due`` while an update waits for
            a finite gradient.
        limit: no update goes beyond this sparsity.
        again: update once more, although nothing is due.
    """

    due: int = -1
    done: int = -1
    limit: float = 1.0
    again: bool = False

    def is_unfinished(self, schedule: Schedule) -> bool:
        """Return whether another update is to come."""
        return self.done < schedule.last or self.again

    def next_due(self, schedule: Schedule, position: int) -> int | None:
        """Return the position whose update is to be made now, ``None`` if there is none."""
        due = schedule.due(position)
        return due if due is not None and (due > self.done or self.again) else None

    def target(self, schedule: Schedule, due: int, final: float) -> float:
        """Return the sparsity to reach at a due position."""
        return min(self.limit, schedule.sparsity(due, final))

    def next_target(self, schedule: Schedule, final: float) -> float:
        """Return the sparsity of the next update, 0 if none is to come."""
        due = schedule.window.after(self.done)
        return 0.0 if due is None else self.target(schedule, due, final)

    def set_limit(self, limit: float) -> None:
        """Set another limit, and update once more as soon as possible."""
        self.limit, self.again = limit, True

    def mark_done(self, due: int) -> None:
        """Note that the update of a position is done."""
        self.due, self.done, self.again = due, due, False

    def state_dict(self) -> dict[str, Any]:
        """Return the fields, which are primitives."""
        return vars(self).copy()

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take over what `state_dict` returned; other keys are ignored."""
        for key in vars(self):
            setattr(self, key, state[key])
