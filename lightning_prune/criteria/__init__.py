"""Criteria: a score for every weight, higher = keep."""

from lightning_prune.criteria.base import Criterion
from lightning_prune.criteria.gradient import Gradient
from lightning_prune.criteria.magnitude import Magnitude
from lightning_prune.criteria.random import Random
from lightning_prune.criteria.taylor import Taylor

__all__ = ["Criterion", "Gradient", "Magnitude", "Random", "Taylor"]
