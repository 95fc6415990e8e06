"""The geometric median: the units that others replace best are removed first."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor
from typing_extensions import override

from lightning_prune.criteria.base import Criterion
from lightning_prune.criteria.evidence import Evidence, Weights
from lightning_prune.units.scores import Sides


@dataclass(frozen=True)
class GeometricMedian(Criterion):
    r"""Score a unit by its distance from all others of its group.

    .. math:: s_u = \sum_v \lVert W_u - W_v \rVert_2

    over the weights that write the unit. The unit nearest to the geometric median of the group is
    the one that the others replace best. He et al., 2019, "Filter Pruning via Geometric Median for
    Deep Convolutional Neural Networks Acceleration", arXiv:1811.00250. For units of more than one
    weight, such as `Channel`; single weights are refused.
    """

    reads: ClassVar[type[Evidence]] = Weights
    sides: ClassVar[Sides] = "out"
    single_weights: ClassVar[bool] = False
    relative: ClassVar[bool] = True

    @override
    def write(self, out: list[Tensor], weights: list[Tensor], observed: list[Tensor]) -> None:
        """Copy the weights into ``out``."""
        torch._foreach_copy_(out, weights)

    @property
    @override
    def whole_units(self) -> bool:
        """Always: a distance is one of whole units."""
        return True

    @override
    def score_units(self, rows: Sequence[Tensor]) -> Tensor:
        """Return the sum of the distances to all units."""
        every = torch.cat(list(rows), dim=1)
        if every.device.type == "mps":  # has no float64
            return torch.cdist(every, every, compute_mode="donot_use_mm_for_euclid_dist").sum(1)
        # Matrix products are fast, and in float64 small distances do not cancel out.
        wide = every.double()
        distances = torch.cdist(wide, wide, compute_mode="use_mm_for_euclid_dist")
        return distances.sum(1).to(every.dtype)
