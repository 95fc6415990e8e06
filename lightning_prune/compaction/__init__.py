"""Compaction: plan, surgery, verification and report."""

from lightning_prune.compaction.compact import compact
from lightning_prune.compaction.plan import Plan, plan_removal
from lightning_prune.compaction.report import CompactionReport
from lightning_prune.compaction.storage import load_compact, save_compact

__all__ = [
    "CompactionReport",
    "Plan",
    "compact",
    "load_compact",
    "plan_removal",
    "save_compact",
]
