"""The place in the schedule: what was due, what is done, and how far an update may go."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from lightning_prune.schedules import Schedule


@dataclass
class Progress:
    """Where a training is in its schedule.

    Args:
        due: the last position seen to be due.
        done: the last one dealt with; behind ``due`` while no finite gradient came.
        limit: no update goes beyond this sparsity.
        again: update once more, although nothing is due.
    """

    due: int = -1
    done: int = -1
    limit: float = 1.0
    again: bool = False

    def is_open(self, schedule: Schedule) -> bool:
        """Return whether another update is to come, as far as is known."""
        return self.done < schedule.end or self.again

    def next_due(self, schedule: Schedule, position: int) -> int | None:
        """Return the position to update for, ``None`` if there is nothing to do."""
        due = schedule.due(position)
        return due if due is not None and (due > self.done or self.again) else None

    def target(self, schedule: Schedule, due: int, final: float) -> float:
        """Return the sparsity to reach at a due position."""
        return min(self.limit, schedule.sparsity(due, final))

    def next_target(self, schedule: Schedule, final: float) -> float:
        """Return the sparsity of the next update, 0 if none is to come."""
        due = schedule.window.after(self.done)
        return 0.0 if due is None else self.target(schedule, due, final)

    def relimit(self, limit: float) -> None:
        """Set another limit, and update once more at the next occasion."""
        self.limit, self.again = limit, True

    def reach(self, due: int) -> None:
        """Note that a position was dealt with."""
        self.due, self.done, self.again = due, due, False

    def state_dict(self) -> dict[str, Any]:
        """Return the place as primitives."""
        return vars(self).copy()

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take over what `state_dict` returned; other keys are ignored."""
        for key in vars(self):
            setattr(self, key, state[key])
