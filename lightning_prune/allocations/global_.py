"""All groups ranked together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from typing_extensions import override

from lightning_prune.allocations.base import Allocation
from lightning_prune.units.group import Group


@dataclass(frozen=True)
class Global(Allocation):
    """Rank the units of all groups together, by their scores as they are.

    Groups that score low lose more.

    Args:
        max_sparsity: the largest fraction that a single group may lose, in (0, 1].
    """

    @override
    def priorities(
        self, scores: Sequence[Tensor], groups: Sequence[Group], shapes: Mapping[str, torch.Size]
    ) -> list[Tensor]:
        """Return the scores themselves."""
        return list(scores)
