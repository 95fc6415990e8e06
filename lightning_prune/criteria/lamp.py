"""LAMP: squared magnitudes as shares of what remains of the layer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor
from typing_extensions import override

from lightning_prune.criteria.base import Criterion
from lightning_prune.criteria.evidence import Evidence, Weights


@dataclass(frozen=True)
class Lamp(Criterion):
    r"""Score a weight by its square among those of its layer that are not smaller.

    .. math:: s_i = \frac{w_i^2}{\sum_{j:\, w_j^2 \ge w_i^2} w_j^2}

    Lee et al., 2021, "Layer-adaptive Sparsity for the Magnitude-based Pruning", arXiv:2010.07611.
    It makes magnitudes comparable across layers: meant for `Weight` under `Global`. Of equal
    weights the later one in memory counts as the larger.
    """

    reads: ClassVar[type[Evidence]] = Weights

    @override
    def write(self, out: list[Tensor], weights: list[Tensor], observed: list[Tensor]) -> None:
        """Write the squares, each divided by the sum from it upwards, into ``out``."""
        for score, weight in zip(out, weights, strict=True):
            squares, order = weight.detach().float().flatten().square().sort(stable=True)
            # Summed in float64: the smallest of millions would vanish in the rest.
            wide = squares if squares.device.type == "mps" else squares.double()
            upwards = wide.flip(0).cumsum(0).flip(0)
            shares = wide / upwards.clamp_min(torch.finfo(torch.float32).tiny)
            score.view(-1)[order] = shares.float()
