"""Coupling: which channels of a model live and die together."""

from lightning_prune.coupling.couple import Coupling, couple
from lightning_prune.coupling.groups import Frozen

__all__ = ["Coupling", "Frozen", "couple"]
