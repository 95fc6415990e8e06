"""Channels: structured sparsity that compaction turns into a smaller model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from lightning_prune.granularities.base import Granularity
from lightning_prune.units import Group


@dataclass(frozen=True)
class Channel(Granularity):
    """A unit is a channel: one position of an output axis with everything coupled to it."""

    needs_coupling: ClassVar[bool] = True

    def groups(self, weights: Mapping[str, Tensor], coupled: Sequence[Group]) -> list[Group]:
        """Return the coupled groups themselves.

        Args:
            weights: ignored.
            coupled: the groups of coupled axes.

        Returns:
            The same groups.
        """
        return list(coupled)
