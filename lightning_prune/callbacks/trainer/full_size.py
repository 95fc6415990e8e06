"""The full size of a module that has become compact while it trains: who keeps it, and who asks."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

import lightning as L
from torch import nn

from lightning_prune.compaction.full_size import FullSize


@runtime_checkable
class KeepsFullSize(Protocol):
    """A callback that keeps the structure of the module in its full size."""

    full_size: FullSize[L.LightningModule] | None

    def keep_full_size(self, module: L.LightningModule) -> None:
        """Keep the structure of a module that is not compact yet."""


@runtime_checkable
class NeedsFullSize(Protocol):
    """A callback that may not go on when the module has become compact."""

    def needs_full_size(self) -> str | None:
        """Return why it does not, and what to do, in sentences; ``None`` if it does."""


def keepers(module: nn.Module) -> list[KeepsFullSize]:
    """Return the callbacks of a module's trainer that keep its full size."""
    trainer = getattr(module, "_trainer", None)
    callbacks = () if trainer is None else trainer.callbacks
    return [callback for callback in callbacks if isinstance(callback, KeepsFullSize)]


def full_size(module: L.LightningModule) -> L.LightningModule:
    """Return the masked module of full size that a compact one stands for.

    Args:
        module: it has become compact in this training, or in the one that is resumed.

    Raises:
        ValueError: if nobody keeps it.
    """
    for keeper in keepers(module):
        if keeper.full_size is not None:
            return keeper.full_size.masked(module)
    raise ValueError(
        "Expected a training whose model became compact to be resumed with `Compaction`, but got "
        "none among the callbacks, or a model that was compact before it was resumed. Resume with "
        "the same callbacks, and with a new model of full size."
    )
