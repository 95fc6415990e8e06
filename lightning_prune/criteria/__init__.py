"""Criteria: a score for every weight, higher = keep."""

from lightning_prune.criteria.activation_rate import ActivationRate
from lightning_prune.criteria.base import Criterion
from lightning_prune.criteria.batch_norm_scale import BatchNormScale
from lightning_prune.criteria.brain_surgeon import BrainSurgeon
from lightning_prune.criteria.fisher import Fisher
from lightning_prune.criteria.geometric_median import GeometricMedian
from lightning_prune.criteria.gradient import Gradient
from lightning_prune.criteria.grasp import Grasp
from lightning_prune.criteria.lamp import Lamp
from lightning_prune.criteria.magnitude import Magnitude
from lightning_prune.criteria.movement import Movement
from lightning_prune.criteria.random import Random
from lightning_prune.criteria.snip import Snip
from lightning_prune.criteria.syn_flow import SynFlow
from lightning_prune.criteria.taylor import Taylor
from lightning_prune.criteria.wanda import Wanda

__all__ = [
    "ActivationRate",
    "BatchNormScale",
    "BrainSurgeon",
    "Criterion",
    "Fisher",
    "GeometricMedian",
    "Gradient",
    "Grasp",
    "Lamp",
    "Magnitude",
    "Movement",
    "Random",
    "Snip",
    "SynFlow",
    "Taylor",
    "Wanda",
]
