"""Pruning: accumulate, score, allocate, mask, and keep at zero what is masked."""

from lightning_prune.pruning.prune import prune
from lightning_prune.pruning.pruner import Pruner
from lightning_prune.pruning.recipe import Recipe
from lightning_prune.pruning.report import PruningReport
from lightning_prune.pruning.rewinding import Rewinding
from lightning_prune.pruning.sensitivity import sensitivity

__all__ = ["Pruner", "PruningReport", "Recipe", "Rewinding", "prune", "sensitivity"]
