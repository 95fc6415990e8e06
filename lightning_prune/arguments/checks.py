"""Checks of numbers and words, refused before anything starts.

A check raises `TypeError` for what is of another kind altogether and `ValueError` for what is of
the kind, but out of range. Where a number is meant, a bool, NaN and infinity are none.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from numbers import Integral, Real
from typing import Literal, NoReturn

Interval = Literal["[0, 1]", "[0, 1)", "(0, 1]", "(0, 1)"]
"""Square brackets include the bound, round ones do not."""


def check_integer(argument: str, value: object, least: int, cure: str) -> None:
    """Refuse what is no integer of at least ``least``.

    Args:
        argument: the argument that holds the value, for the message.
        value: what was passed.
        least: the lowest value allowed.
        cure: what to do instead, or what the number means; a sentence.

    Raises:
        ValueError: if it is another number, or a bool.
        TypeError: if it is no number.
    """
    if not _integer(value) >= least:
        _refuse(argument, f"an integer of at least {least}", value, cure)


def check_seed(argument: str, value: object) -> None:
    """Refuse what torch takes for no seed.

    Raises:
        ValueError: if it is another number, or a bool.
        TypeError: if it is no number.
    """
    if not -(2**63) <= _integer(value) < 2**64:
        _refuse(argument, "an integer in [-2**63, 2**64)", value, "It seeds a random generator.")


def check_number(argument: str, value: object, least: float, cure: str) -> None:
    """Refuse what is no number of at least ``least``.

    Args:
        argument: the argument that holds the value, for the message.
        value: what was passed.
        least: the lowest value allowed.
        cure: what to do instead, or what the number means; a sentence.

    Raises:
        ValueError: if it is another number, not finite, or a bool.
        TypeError: if it is no number.
    """
    if not _number(value) >= least:
        _refuse(argument, f"a finite number of at least {least:g}", value, cure)


def check_positive(argument: str, value: object, cure: str) -> None:
    """Refuse what is no number greater than 0.

    Args:
        argument: the argument that holds the value, for the message.
        value: what was passed.
        cure: what to do instead, or what the number means; a sentence.

    Raises:
        ValueError: if it is another number, not finite, or a bool.
        TypeError: if it is no number.
    """
    if not _number(value) > 0.0:
        _refuse(argument, "a finite number greater than 0", value, cure)


def check_fraction(argument: str, value: object, interval: Interval, cure: str) -> None:
    """Refuse what is no fraction in an interval.

    Args:
        argument: the argument that holds the value, for the message.
        value: what was passed.
        interval: which of the bounds 0 and 1 are allowed themselves.
        cure: what to do instead, or what the fraction is one of; a sentence.

    Raises:
        ValueError: if it is another number, not finite, or a bool.
        TypeError: if it is no number.
    """
    bounds = {0.0: interval.startswith("["), 1.0: interval.endswith("]")}
    number = _number(value)
    if not (0.0 < number < 1.0 or bounds.get(number, False)):
        _refuse(argument, f"a fraction in {interval}", value, cure)


def check_sparsity(value: object, argument: str = "sparsity") -> None:
    """Refuse what is no fraction in [0, 1).

    Raises:
        ValueError: if it is another number, not finite, or a bool.
        TypeError: if it is no number.
    """
    check_fraction(argument, value, "[0, 1)", "It is the share removed, not the share kept.")


def check_choice(argument: str, value: object, choices: Sequence[object], cure: str) -> None:
    """Refuse what is none of a few values.

    Args:
        argument: the argument that holds the value, for the message.
        value: what was passed.
        choices: the values allowed, at least two.
        cure: what the argument decides; a sentence.

    Raises:
        ValueError: if it is none of them.
    """
    if isinstance(value, bool) or value not in choices:
        *others, last = map(repr, choices)
        raise ValueError(
            f"Expected `{argument}` to be {', '.join(others)} or {last}, but got {value!r}. {cure}"
        )


def check_flags(**flags: object) -> None:
    """Refuse what is neither True nor False; any other value would pass for one of the two.

    Args:
        flags: what was passed, by argument.

    Raises:
        TypeError: if one is something else.
    """
    for argument, value in flags.items():
        if not isinstance(value, bool):
            raise TypeError(f"Expected `{argument}` to be True or False, but got {value!r}.")


def check_name(argument: str, value: object, cure: str) -> None:
    """Refuse what is no text, or an empty one.

    Args:
        argument: the argument that holds the value, for the message.
        value: what was passed.
        cure: what it names; a sentence.

    Raises:
        ValueError: if it is empty.
        TypeError: if it is no text.
    """
    if not isinstance(value, str) or not value:
        error = ValueError if value == "" else TypeError
        raise error(f"Expected `{argument}` to be a name, but got {value!r}. {cure}")


def _number(value: object) -> float:
    """Return the number; for what is none NaN, which fails every comparison."""
    number = float(value) if isinstance(value, Real) and not isinstance(value, bool) else math.nan
    return number if math.isfinite(number) else math.nan


def _integer(value: object) -> float:
    """Return the integer; for what is none NaN, which fails every comparison."""
    return int(value) if isinstance(value, Integral) and not isinstance(value, bool) else math.nan


def _refuse(argument: str, expected: str, value: object, cure: str) -> NoReturn:
    """Raise the error sentence of this package; a bool is the wrong number, as it is an int."""
    error = ValueError if isinstance(value, Real) else TypeError
    raise error(f"Expected `{argument}` to be {expected}, but got {value!r}. {cure}")
