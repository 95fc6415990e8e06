"""Switches: settings of the whole process, changed for as long as anyone needs it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from threading import Lock


class Switch:
    """A setting that is changed while any of its users needs it.

    Uses may be nested, and overlap in several threads: the first one changes the setting, and the
    last one changes it back.

    Args:
        change: returns a context in which the setting is the other.
    """

    def __init__(self, change: Callable[[], AbstractContextManager[None]]) -> None:
        self._change = change
        self._lock = Lock()
        self._users = 0
        self._changed = ExitStack()

    @contextmanager
    def __call__(self) -> Iterator[None]:
        """Return a context that needs the change."""
        with self._lock:
            if not self._users:
                self._changed.enter_context(self._change())
            self._users += 1
        try:
            yield
        finally:
            with self._lock:
                self._users -= 1
                if not self._users:
                    self._changed.close()
