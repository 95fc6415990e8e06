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
            f"epoch={epoch} and step={step}. Write `epoch=1` or `step=100`, say."
        )
    period: Period = "step" if epoch is None else "epoch"
    position = _check(period, step if epoch is None else epoch, least=0)
    return Window(period, (), position)


def span(
    start_epoch: int | None,
    end_epoch: int | None,
    start_step: int | None,
    end_step: int | None,
    every: float,
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
    epochs = {"start_epoch": start_epoch, "end_epoch": end_epoch}
    steps = {"start_step": start_step, "end_step": end_step}
    start, end = _pair(epochs, steps, "start", "end")
    period: Period = "epoch" if start_step is None else "step"
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
    epochs = {"start_epoch": start_epoch, "recovery_epochs": recovery_epochs}
    steps = {"start_step": start_step, "recovery_steps": recovery_steps}
    start, recovery = _pair(epochs, steps, "start", "recovery")
    period: Period = "epoch" if start_step is None else "step"
    start = _check(f"start_{period}", start, least=0)
    recovery = _check(f"recovery_{period}s", recovery, least=1)
    end = start + recovery * (_check("rounds", count, least=1) - 1)
    return Window(period, range(start, end, recovery), end)


def _pair(
    epochs: dict[str, int | None], steps: dict[str, int | None], *fractions: str
) -> tuple[int, int]:
    """Return the values of the pair that is given.

    Args:
        epochs: bounds in epochs, by argument.
        steps: bounds in steps, by argument.
        fractions: arguments of the pair that could be given in their place.

    Raises:
        ValueError: unless exactly one is given, and complete.
    """
    given = {name: value for name, value in (epochs | steps).items() if value is not None}
    text = ", ".join(f"{name}={value!r}" for name, value in given.items())
    pairs = [pair for pair in (epochs, steps) if given.keys() & pair.keys()]
    if len(pairs) != 1:
        names = [" and ".join(f"`{name}`" for name in pair) for pair in (epochs, steps, fractions)]
        raise ValueError(
            f"Expected one pair of bounds, but got {text or 'none'}. Give {names[0]}, or "
            f"{names[1]}, or {names[2]} as fractions of the training."
        )
    for name in pairs[0].keys() - given.keys():
        meaning = "It is the distance from one round to the next. " if "recovery" in name else ""
        raise ValueError(
            f"Expected `{name}` to be given beside {text}, but got None. {meaning}Write "
            f"`{text}, {name}=…`."
        )
    first, second = given.values()
    return first, second


def _check(argument: str, value: float | None, least: int) -> int:
    """Return ``value`` as an int of Python's, which a checkpoint can hold.

    Raises:
        ValueError: unless it is an integer of at least ``least``.
    """
    cure = "Positions are counted from 0; an interval is at least 1."
    check_integer(argument, value, least, cure)
    return int(value)  # type: ignore[arg-type]  # None was refused, too
