"""Verification: does the compact model compute what the masked one computed?"""

from lightning_prune.compaction.verification.training import Training
from lightning_prune.compaction.verification.verification import (
    FOLDED_TOLERANCES,
    TOLERANCES,
    Errors,
    Verification,
)

__all__ = ["FOLDED_TOLERANCES", "TOLERANCES", "Errors", "Training", "Verification"]
