"""Schedules: when something is removed, and how much."""

from lightning_prune.schedules.base import Schedule
from lightning_prune.schedules.cubic import Cubic
from lightning_prune.schedules.linear import Linear
from lightning_prune.schedules.one_shot import OneShot

__all__ = ["Cubic", "Linear", "OneShot", "Schedule"]
