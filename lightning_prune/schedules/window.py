"""The window of a schedule: its due positions.

A window knows positions only, in epochs or in optimizer steps. How much is removed at each is the
schedule's business.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from lightning_prune.arguments import check_integer

Period = Literal["epoch", "step"]


@dataclass(frozen=True)
class Window:
    """The due positions, in ascending order.

    Args:
        period: what positions count, ``"epoch"`` or ``"step"``.
        grid: the due positions before the end: a range, or a tuple.
        end: the last due position.
    """

    period: Period
    grid: range | tuple[int, ...]
    end: int

    @property
    def start(self) -> int:
        """The first due position."""
        return self.grid[0] if self.grid else self.end

    def due(self, position: int) -> int | None:
        """Return the last due position at or before ``position``, ``None`` before the first."""
        if position >= self.end:
            return self.end
        past = bisect_right(self.grid, position)
        return self.grid[past - 1] if past else None

    def after(self, position: int) -> int | None:
        """Return the first due position after ``position``, ``None`` from the end on."""
        past = bisect_right(self.grid, position)
        if past < len(self.grid):
            return self.grid[past]
        return self.end if position < self.end else None

    def progress(self, position: int) -> float:
        """Return the share of the way from ``start`` to ``end``; 1 where both are the same."""
        return (position - self.start) / (self.end - self.start) if self.end > self.start else 1.0

    @property
    def positions(self) -> tuple[int, ...]:
        """Every due position."""
        return (*self.grid, self.end)


def moment(epoch: int | None, step: int | None) -> Window:
    """Return the window of one position, given in epochs or in steps.

    Args:
        epoch: the epoch, or ``None``.
        step: the optimizer step, or ``None``.

    Returns:
        A window that starts and ends there.

    Raises:
        ValueError: unless exactly one of the two is given, as an integer of at least 0.
    """
    if (epoch is None) == (step is None):
        raise ValueError(
            "Expected `epoch` or `step` to be given, one of the two, but got "
            f"epoch={epoch} and step={step}. Write `OneShot(epoch=1)` or `OneShot(step=100)`."
        )
    period: Period = "step" if epoch is None else "epoch"
    position = _check(period, step if epoch is None else epoch, least=0)
    return Window(period, (), position)


def span(
    start_epoch: int | None,
    end_epoch: int | None,
    start_step: int | None,
    end_step: int | None,
    every: int,
) -> Window:
    """Return the window with these bounds, given in epochs or in steps.

    Args:
        start_epoch: first due epoch, or ``None``.
        end_epoch: last due epoch, or ``None``.
        start_step: first due optimizer step, or ``None``.
        end_step: last due optimizer step, or ``None``.
        every: interval between due positions, in epochs or steps as the bounds.

    Returns:
        The window.

    Raises:
        ValueError: unless exactly one pair is given, as integers of at least 0 with the end after
            the start, or if ``every`` is less than 1.
    """
    epochs, steps = (start_epoch, end_epoch), (start_step, end_step)
    if (epochs == (None, None)) == (steps == (None, None)):
        raise ValueError(
            "Expected `start_epoch` and `end_epoch`, or `start_step` and `end_step`, to be given, "
            f"but got epochs {epochs} and steps {steps}. Give one pair."
        )
    period: Period = "epoch" if steps == (None, None) else "step"
    start, end = epochs if period == "epoch" else steps
    start = _check(f"start_{period}", start, least=0)
    end = _check(f"end_{period}", end, least=0)
    if end <= start:
        raise ValueError(
            f"Expected `end_{period}` to be after `start_{period}`, which is {start}, but got "
            f"{end}. To remove everything at once, use `OneShot({period}={start})`."
        )
    return Window(period, range(start, end, _check("every", every, least=1)), end)


def points(epochs: Sequence[int] | None, steps: Sequence[int] | None) -> Window:
    """Return the window with these positions, given in epochs or in steps.

    Args:
        epochs: the epochs, or ``None``.
        steps: the optimizer steps, or ``None``.

    Returns:
        The window.

    Raises:
        ValueError: unless exactly one of the two is given, with integers of at least 0.
    """
    if bool(epochs) == bool(steps):
        raise ValueError(
            "Expected positions in `epochs` or in `steps`, one of the two, but got "
            f"epochs={epochs} and steps={steps}. Give at least one position."
        )
    period: Period = "epoch" if epochs else "step"
    given = epochs or steps or ()
    *grid, end = sorted(_check(f"{period}s", position, least=0) for position in given)
    return Window(period, tuple(grid), end)


def rounds(
    count: int,
    start_epoch: int | None,
    recovery_epochs: int | None,
    start_step: int | None,
    recovery_steps: int | None,
) -> Window:
    """Return the window of rounds at equal distances, given in epochs or in steps.

    Args:
        count: number of rounds.
        start_epoch: epoch of the first, or ``None``.
        recovery_epochs: epochs from one to the next, or ``None``.
        start_step: optimizer step of the first, or ``None``.
        recovery_steps: optimizer steps from one to the next, or ``None``.

    Returns:
        The window.

    Raises:
        ValueError: unless exactly one pair is given, and all is in range.
    """
    epochs, steps = (start_epoch, recovery_epochs), (start_step, recovery_steps)
    if (epochs == (None, None)) == (steps == (None, None)):
        raise ValueError(
            "Expected `start_epoch` and `recovery_epochs`, or `start_step` and `recovery_steps`, "
            f"to be given, but got epochs {epochs} and steps {steps}. Give one pair."
        )
    period: Period = "epoch" if steps == (None, None) else "step"
    start, recovery = epochs if period == "epoch" else steps
    start = _check(f"start_{period}", start, least=0)
    recovery = _check(f"recovery_{period}s", recovery, least=1)
    end = start + recovery * (_check("rounds", count, least=1) - 1)
    return Window(period, range(start, end, recovery), end)


def _check(argument: str, value: int | None, least: int) -> int:
    """Return ``value`` as an int of Python's, which a checkpoint can hold.

    Raises:
        ValueError: unless it is an integer of at least ``least``.
    """
    if value is None:
        raise ValueError(f"Expected `{argument}` to be given, but got None. Give both of a pair.")
    cure = "Positions are counted from 0; an interval is at least 1."
    check_integer(argument, value, least, cure)
    return int(value)
