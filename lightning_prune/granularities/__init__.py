"""Granularities: what a unit is."""

from lightning_prune.granularities.base import Granularity, UnitRules
from lightning_prune.granularities.block import Block
from lightning_prune.granularities.channel import Channel
from lightning_prune.granularities.expert import Expert
from lightning_prune.granularities.head import Head
from lightning_prune.granularities.layer import Layer
from lightning_prune.granularities.nm import NM
from lightning_prune.granularities.weight import Weight

__all__ = [
    "NM",
    "Block",
    "Channel",
    "Expert",
    "Granularity",
    "Head",
    "Layer",
    "UnitRules",
    "Weight",
]
