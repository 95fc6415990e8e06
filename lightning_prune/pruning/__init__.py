"""Pruning: accumulate, score, allocate, mask, and keep at zero what is masked."""

from lightning_prune.pruning.base_pruner import BasePruner
from lightning_prune.pruning.comparing.auto import Auto, Candidate
from lightning_prune.pruning.comparing.compare import compare
from lightning_prune.pruning.comparing.comparison import Comparison
from lightning_prune.pruning.prunable import find_prunable
from lightning_prune.pruning.prune import plan, prune
from lightning_prune.pruning.recipe import Recipe
from lightning_prune.pruning.report import PruningReport
from lightning_prune.pruning.rewinding import Rewinding
from lightning_prune.pruning.sensitivity import sensitivity

__all__ = [
    "Auto",
    "BasePruner",
    "Candidate",
    "Comparison",
    "PruningReport",
    "Recipe",
    "Rewinding",
    "compare",
    "find_prunable",
    "plan",
    "prune",
    "sensitivity",
]
