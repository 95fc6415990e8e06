"""The same fraction of every group."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor
from typing_extensions import override

from lightning_prune.allocations.base import Allocation, quantiles
from lightning_prune.units.group import Group


@dataclass(frozen=True)
class Uniform(Allocation):
    """Remove the same fraction of every group's units, within one unit.

    Args:
        max_sparsity: the largest fraction that a single group may lose, in (0, 1].
    """

    within_groups: ClassVar[bool] = True

    @override
    def priorities(
        self, scores: Sequence[Tensor], groups: Sequence[Group], shapes: Mapping[str, torch.Size]
    ) -> list[Tensor]:
        """Return the quantiles within each group."""
        return [quantiles(group) for group in scores]
