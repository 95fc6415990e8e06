"""A granularity: the rows of every matrix."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from lightning_prune import Granularity
from lightning_prune.units.group import Axis, Group, Member


@dataclass(frozen=True)
class Rows(Granularity):
    """A unit is a row of a matrix, without what is coupled to it."""

    needs_coupling = False

    def groups(self, weights: Mapping[str, Tensor], structure: Any) -> list[Group]:
        return [
            Group(name, len(w), (Member(Axis(name, 0), "out", len(w)),))
            for name, w in weights.items()
            if w.dim() == 2
        ]
