"""Pruning as a callback, and what belongs to it alone."""

from lightning_prune.callbacks.pruning.callback import Pruning

__all__ = ["Pruning"]
