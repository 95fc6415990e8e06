"""Checks of objects: those of a class of ours, models, functions, and lists of patterns."""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn


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
    elif isinstance(patterns, Sequence) and all(isinstance(pattern, str) for pattern in patterns):
        return
    else:
        cure = "Write each as a string; for none, leave the argument out."
    raise TypeError(
        f"Expected `{argument}` to be a list of glob patterns, but got {patterns!r}. {cure}"
    )


def check_model(model: object) -> None:
    """Refuse what is no module: its class, say, or its state dict.

    Raises:
        TypeError: if it is none.
    """
    if not isinstance(model, nn.Module):
        got = model.__name__ if isinstance(model, type) else f"an object of {type(model).__name__}"
        raise TypeError(
            f"Expected `model` to be an nn.Module, but got {got}. Pass the model itself."
        )


def check_function(argument: str, value: object, signature: str) -> None:
    """Refuse what cannot be called.

    Args:
        argument: the argument that holds the value, for the message.
        value: what was passed.
        signature: how it is called.

    Raises:
        TypeError: if it is no function.
    """
    if not callable(value):
        raise TypeError(
            f"Expected `{argument}` to be a function, but got {value!r}. It is called as "
            f"{signature}."
        )
