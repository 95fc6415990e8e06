"""Pruning: accumulate, score, allocate, mask, and keep at zero what is masked."""

from lightning_prune.pruning.build import build_pruner, needs_inputs
from lightning_prune.pruning.prune import prune
from lightning_prune.pruning.pruner import Pruner
from lightning_prune.pruning.report import PruningReport

__all__ = ["Pruner", "PruningReport", "build_pruner", "needs_inputs", "prune"]
