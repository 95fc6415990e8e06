"""What is said of a model is said once, however many functions come upon it."""

from __future__ import annotations

from weakref import WeakKeyDictionary

from torch import nn

_said: WeakKeyDictionary[nn.Module, set[str]] = WeakKeyDictionary()


def is_news(model: nn.Module, message: str) -> bool:
    """Return whether a message about a model was not said before; from now on it was.

    Args:
        model: what the message is about; a copy is another model.
        message: the whole text.
    """
    said = _said.setdefault(model, set())
    if message in said:
        return False
    said.add(message)
    return True
