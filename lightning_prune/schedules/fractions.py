"""Checks of a schedule's bounds that are fractions of the training."""

from __future__ import annotations

from lightning_prune.arguments import check_fraction

_MEANING = "It is a fraction of the training: 0.1 is a tenth of its optimizer steps."
_COUNTED = ("epoch", "epochs", "step", "steps")


def check_fractions(schedule: object, **fractions: float | None) -> None:
    """Refuse fractions that are incomplete, out of range, or given beside epochs or steps.

    Args:
        schedule: the schedule that has them; its bounds in epochs or steps are named so.
        fractions: by argument; only the first may be 0.

    Raises:
        ValueError: if they are.
        TypeError: if one is no number.
    """
    given = {name: value for name, value in vars(schedule).items() if value is not None}
    beside = [f"{n}={v}" for n, v in given.items() if n.rpartition("_")[2] in _COUNTED]
    if beside:
        names = " and ".join(f"`{name}`" for name in fractions)
        raise ValueError(
            f"Expected {names} without bounds in epochs or steps, but got {', '.join(beside)}, "
            "too. Give bounds of one kind."
        )
    for index, (name, value) in enumerate(fractions.items()):
        if value is None:
            raise ValueError(
                f"Expected `{name}` to be given, too, but got {schedule!r}. {_MEANING}"
            )
        check_fraction(name, value, "(0, 1)" if index else "[0, 1)", _MEANING)


def check_span(schedule: object, start: float | None, end: float | None) -> None:
    """Refuse fractions between which a schedule cannot run.

    Args:
        schedule: the schedule.
        start: where it starts, in [0, 1).
        end: where it ends, after the start, in (0, 1).

    Raises:
        ValueError: if one is missing or out of range, or there are other bounds.
        TypeError: if one is no number.
    """
    check_fractions(schedule, start=start, end=end)
    if (end or 0.0) <= (start or 0.0):
        raise ValueError(
            f"Expected `end` to be after `start`, which is {start}, but got {end}. To remove "
            f"everything at once, use `OneShot(at={start})`."
        )
