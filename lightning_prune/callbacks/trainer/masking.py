"""Callbacks that mask weights: what others may ask them, without knowing which they are."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

import lightning as L


@runtime_checkable
class Masking(Protocol):
    """A callback that keeps weights at zero by masks."""

    def masks_in_force(self) -> int:
        """Return a checksum of its masks, the same as long as these are."""


def masks_in_force(trainer: L.Trainer) -> list[int]:
    """Return a checksum of the masks of every callback that has some, in their order.

    Args:
        trainer: the trainer.

    Returns:
        One for each callback; none where nobody masks.
    """
    callbacks = trainer.callbacks  # type: ignore[attr-defined]  # lightning's connectors set it
    return [c.masks_in_force() for c in callbacks if isinstance(c, Masking)]
