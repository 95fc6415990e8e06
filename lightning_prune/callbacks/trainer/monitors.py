"""What monitors try: it may fail, but it never ends a fit."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from lightning.pytorch.utilities import rank_zero_warn


class Attempts:
    """The attempts of one monitor to measure something; after a failure there are no more.

    Args:
        monitor: the name of the monitor, for the warning.
    """

    def __init__(self, monitor: str) -> None:
        self._monitor = monitor
        self.failed = False

    @contextmanager
    def attempt(self) -> Iterator[None]:
        """Turn whatever is raised within into one warning.

        Yields:
            Nothing.
        """
        try:
            yield
        except Exception as error:  # whatever the code of a model or a logger raises
            self.failed = True
            rank_zero_warn(
                f"{self._monitor} measures nothing more in this fit, which goes on without: "
                f"{type(error).__name__}: {error}"
            )
