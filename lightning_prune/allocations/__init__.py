"""Allocations: how the sparsity is shared among groups."""

from lightning_prune.allocations.base import Allocation
from lightning_prune.allocations.global_ import Global
from lightning_prune.allocations.uniform import Uniform

__all__ = ["Allocation", "Global", "Uniform"]
