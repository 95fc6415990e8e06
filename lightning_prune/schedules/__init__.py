"""Schedules: when something is removed, and how much."""

from lightning_prune.schedules.base import Schedule
from lightning_prune.schedules.cosine import Cosine
from lightning_prune.schedules.cubic import Cubic
from lightning_prune.schedules.dense_sparse_dense import DenseSparseDense
from lightning_prune.schedules.exponential import Exponential
from lightning_prune.schedules.iterative import Iterative
from lightning_prune.schedules.linear import Linear
from lightning_prune.schedules.one_cycle import OneCycle
from lightning_prune.schedules.one_shot import OneShot
from lightning_prune.schedules.regrow import Regrow
from lightning_prune.schedules.steps import Steps

__all__ = [
    "Cosine",
    "Cubic",
    "DenseSparseDense",
    "Exponential",
    "Iterative",
    "Linear",
    "OneCycle",
    "OneShot",
    "Regrow",
    "Schedule",
    "Steps",
]
