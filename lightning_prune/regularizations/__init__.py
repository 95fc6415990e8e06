"""Regularizations: they shrink the units that the next update would remove."""

from lightning_prune.regularizations.base import Regularization
from lightning_prune.regularizations.group_lasso import GroupLasso
from lightning_prune.regularizations.growing_l2 import GrowingL2

__all__ = ["GroupLasso", "GrowingL2", "Regularization"]
