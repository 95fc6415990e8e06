"""Repair: bring what a model keeps about its sizes up to date with its tensors."""

from lightning_prune.compaction.repair.findings import Broken
from lightning_prune.compaction.repair.repair import Repair, Repaired

__all__ = ["Broken", "Repair", "Repaired"]
