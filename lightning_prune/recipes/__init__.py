"""Recipes: callbacks that go well together, with the options that measured best."""

from lightning_prune.recipes.balanced import balanced

__all__ = ["balanced"]
