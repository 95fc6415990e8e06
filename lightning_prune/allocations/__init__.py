"""Allocations: how the sparsity is shared among groups."""

from lightning_prune.allocations.base import Allocation
from lightning_prune.allocations.erdos_renyi import ErdosRenyi
from lightning_prune.allocations.global_ import Global
from lightning_prune.allocations.isomorphic import Isomorphic
from lightning_prune.allocations.per_layer import PerLayer
from lightning_prune.allocations.uniform import Uniform

__all__ = ["Allocation", "ErdosRenyi", "Global", "Isomorphic", "PerLayer", "Uniform"]
