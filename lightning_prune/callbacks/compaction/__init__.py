"""Compaction as a callback, and what belongs to it alone."""

from lightning_prune.callbacks.compaction.callback import Compaction

__all__ = ["Compaction"]
