"""Callbacks that mask weights: what others may ask them, without knowing which they are."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

import lightning as L

from lightning_prune.compaction.remaining import Remaining


@runtime_checkable
class Masking(Protocol):
    """A callback that keeps weights at zero by masks."""

    def masks_in_force(self) -> int:
        """Return a checksum of its masks, the same as long as these are."""


def masks_in_force(trainer: L.Trainer) -> list[int]:
    """Return a checksum of the masks of every callback that has some, in whatever order these are.

    Args:
        trainer: the trainer.

    Returns:
        One for each callback, ascending; none where nobody masks.
    """
    callbacks = trainer.callbacks  # type: ignore[attr-defined]  # lightning's connectors set it
    return sorted(c.masks_in_force() for c in callbacks if isinstance(c, Masking))


@runtime_checkable
class Narrowing(Protocol):
    """A masking callback that can go on when the module has become compact."""

    def can_narrow(self) -> bool:
        """Return whether the module may become compact now."""

    def narrow(self, remaining: Remaining) -> None:
        """Follow the module, which has become compact.

        Args:
            remaining: what it has of the size that it had.
        """
