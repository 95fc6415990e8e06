"""Runs that pause: several forward passes are brought to the same place, one after the other.

Every run has a thread of its own, but only one of them works at a time, and each draws random
numbers of its own, so that results do not depend on chance.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from threading import Semaphore, Thread
from typing import Generic, TypeVar

import torch

from lightning_prune.modules.seeding import Draws

_Seen = TypeVar("_Seen")


class _Stopped(BaseException):
    """Ends a run that has paused; no `except Exception` in a model holds it up."""


class PausedRun(Generic[_Seen]):
    """A function that runs in a thread of its own, and stops where it calls what it is given.

    Args:
        function: called with a function ``pause(seen)``, which returns when the run goes on.
        devices: where it draws random numbers, beside the CPU.
    """

    def __init__(
        self,
        function: Callable[[Callable[[_Seen], None]], object],
        devices: Iterable[torch.device] = (),
    ) -> None:
        self._function = function
        self._draws = Draws(devices=devices)
        self._go, self._back = Semaphore(0), Semaphore(0)
        self._seen: _Seen | None = None
        self._error: BaseException | None = None
        self._stops = False
        self._thread = Thread(target=self._run, daemon=True)
        self._thread.start()

    def resume(self) -> _Seen | None:
        """Let it run to its next pause.

        Returns:
            What it has passed there, None if it has ended.

        Raises:
            Exception: what the function raises.
        """
        if not self._thread.is_alive():
            return None
        self._seen = None
        with self._draws.in_force():
            self._go.release()
            self._back.acquire()
        if self._error is not None:
            raise self._error
        return self._seen

    def stop(self) -> None:
        """End it, wherever it is."""
        self._stops = True
        with self._draws.in_force():
            self._go.release()
            self._thread.join()

    def _run(self) -> None:
        self._go.acquire()
        try:
            if not self._stops:
                self._function(self._pause)
        except _Stopped:
            pass
        except BaseException as error:  # the one who waits for it raises it
            self._error = error
        self._back.release()

    def _pause(self, seen: _Seen) -> None:
        self._seen = seen
        self._back.release()
        self._go.acquire()
        if self._stops:
            raise _Stopped
