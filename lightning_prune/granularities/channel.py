"""Channels: structured sparsity that compaction turns into a smaller model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor
from typing_extensions import override

from lightning_prune.granularities.base import Granularity, UnitRules
from lightning_prune.units.group import Group, Structure
from lightning_prune.units.scores import Normalize, Reduce


@dataclass(frozen=True)
class Channel(Granularity):
    """A unit is a channel: one position of an output axis with everything coupled to it.

    Args:
        reduce: how the scores of all weights of a channel, those that write it and those that read
            it, become one: ``"sum"``, ``"mean"``, ``"max"`` or ``"l2"``.
        normalize: by what the scores of a group are divided, so that groups compare: the ``"mean"``
            or the ``"max"``, in which removed channels count as zero, or ``"none"``.
        round_to: keep a multiple of this many channels, such as 8, for which hardware is fast;
            groups with fewer channels, or of which nothing is removed, are not rounded.
        min_units: keep at least this many channels of every group.

    Raises:
        ValueError: if an option is none of its words, or less than 1.
    """

    reduce: Reduce = "sum"
    normalize: Normalize = "mean"
    round_to: int = 1
    min_units: int = 1

    needs_coupling: ClassVar[bool] = True

    def __post_init__(self) -> None:
        _ = self.rules  # which checks them

    @property
    @override
    def rules(self) -> UnitRules:
        """The options."""
        return UnitRules(self.reduce, self.normalize, self.round_to, self.min_units)

    @override
    def groups(self, weights: Mapping[str, Tensor], structure: Structure) -> list[Group]:
        """Return the coupled groups themselves."""
        return list(structure.coupled)
