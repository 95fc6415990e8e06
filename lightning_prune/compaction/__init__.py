"""Compaction: plan, surgery, verification and report."""

from lightning_prune.compaction.compact import compact
from lightning_prune.compaction.plan import GroupCount, Plan, plan_removal
from lightning_prune.compaction.report import CompactionReport

__all__ = ["CompactionReport", "GroupCount", "Plan", "compact", "plan_removal"]
