"""Checks of single arguments: numbers, objects and lists, refused before anything starts."""

from __future__ import annotations

from collections.abc import Sequence


def check_at_least(argument: str, value: object, least: int = 1) -> None:
    """Refuse what is no integer of at least ``least``.

    Args:
        argument: the argument that holds the value, for the message.
        value: what was passed.
        least: the lowest value allowed.

    Raises:
        ValueError: if it is none.
    """
    if not isinstance(value, int) or isinstance(value, bool) or value < least:
        raise ValueError(
            f"Expected `{argument}` to be an integer of at least {least}, but got {value!r}. "
            "It counts weights or units."
        )


def check_sparsity(sparsity: object) -> None:
    """Refuse what is no fraction in [0, 1).

    Raises:
        ValueError: if it is another number.
        TypeError: if it is no number.
    """
    is_number = isinstance(sparsity, (int, float))
    if not (isinstance(sparsity, (int, float)) and 0.0 <= sparsity < 1.0):
        raise (ValueError if is_number else TypeError)(
            f"Expected `sparsity` to be a fraction in [0, 1), but got {sparsity!r}. It is the "
            "share removed in the end, not the share kept."
        )


def check_kind(argument: str, value: object, kind: type) -> None:
    """Refuse what is no object of ``kind``: its class, say, or its name.

    Args:
        argument: the argument that holds the value, for the message.
        value: what was passed.
        kind: the base class of what is expected.

    Raises:
        TypeError: if it is none.
    """
    if not isinstance(value, kind):
        raise TypeError(
            f"Expected `{argument}` to be an object of {kind.__name__}, but got {value!r}. "
            "Pass an object, not a class or a name; names alone work in a configuration file only."
        )


def check_list(argument: str, patterns: object) -> None:
    """Refuse patterns that are no list of strings.

    Raises:
        TypeError: if they are none.
    """
    if isinstance(patterns, str):
        cure = f"Write [{patterns!r}]."
    elif isinstance(patterns, Sequence) and all(isinstance(one, str) for one in patterns):
        return
    else:
        cure = "Write each as a string; for none, leave the argument out."
    raise TypeError(
        f"Expected `{argument}` to be a list of glob patterns, but got {patterns!r}. {cure}"
    )
