"""Callbacks: thin shells that call the floors below at the right hooks."""

from lightning_prune.callbacks.accuracy_guard import AccuracyGuard
from lightning_prune.callbacks.compaction.callback import Compaction
from lightning_prune.callbacks.compaction.compactable import compactable
from lightning_prune.callbacks.distillation.callback import Distillation
from lightning_prune.callbacks.export import Export
from lightning_prune.callbacks.latency_monitor import LatencyMonitor
from lightning_prune.callbacks.pruning.callback import Pruning
from lightning_prune.callbacks.report.callback import Report
from lightning_prune.callbacks.sparsity_monitor import SparsityMonitor

__all__ = [
    "AccuracyGuard",
    "Compaction",
    "Distillation",
    "Export",
    "LatencyMonitor",
    "Pruning",
    "Report",
    "SparsityMonitor",
    "compactable",
]
