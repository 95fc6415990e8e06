"""SNIP: the sensitivity of the loss to every connection, for one shot before training."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor
from typing_extensions import override

from lightning_prune.criteria.base import Criterion
from lightning_prune.criteria.evidence import Evidence, Gradients


@dataclass(frozen=True)
class Snip(Criterion):
    r"""Score a weight by its share of the loss's first-order change.

    .. math:: s_i = \frac{|g_i w_i|}{\sum_j |g_j w_j|}

    Lee et al., 2019, "SNIP: Single-Shot Network Pruning Based on Connection Sensitivity",
    arXiv:1810.02340. Meant for one shot before training: `prune` with a batch or two, or
    ``OneShot(step=1)``. It is `Taylor` with every step weighing the same.
    """

    reads: ClassVar[type[Evidence]] = Gradients
    elementwise: ClassVar[bool] = True
    shares: ClassVar[bool] = True

    @override
    def write(self, out: list[Tensor], weights: list[Tensor], observed: list[Tensor]) -> None:
        """Write the absolute products into ``out``; the accumulator divides by their sum."""
        torch._foreach_copy_(out, observed)
        torch._foreach_mul_(out, weights)
        torch._foreach_abs_(out)
