"""Granularities: what a unit is."""

from lightning_prune.granularities.base import Granularity
from lightning_prune.granularities.channel import Channel
from lightning_prune.granularities.weight import Weight

__all__ = ["Channel", "Granularity", "Weight"]
