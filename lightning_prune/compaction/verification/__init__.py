"""Verification: does the compact model compute what the masked one computed?"""

from lightning_prune.compaction.verification.comparison import Errors
from lightning_prune.compaction.verification.unverified import Check, Unverified
from lightning_prune.compaction.verification.verification import (
    FOLDED_TOLERANCES,
    TOLERANCES,
    Verification,
)

__all__ = ["FOLDED_TOLERANCES", "TOLERANCES", "Check", "Errors", "Unverified", "Verification"]
