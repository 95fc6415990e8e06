"""Compaction as a callback, and what belongs to it alone."""

from lightning_prune.callbacks.compaction.callback import Compaction
from lightning_prune.callbacks.compaction.compactable import compactable

__all__ = ["Compaction", "compactable"]
