"""What granularities refuse of their options."""

from __future__ import annotations


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
