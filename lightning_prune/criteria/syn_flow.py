"""Synaptic flow: what flows through a weight, without data."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor
from typing_extensions import override

from lightning_prune.arguments import check_integer
from lightning_prune.criteria.base import Criterion
from lightning_prune.criteria.evidence import Evidence, Flow


@dataclass(frozen=True)
class SynFlow(Criterion):
    r"""Score a weight by the flow through it, for an input of ones and all weights positive.

    .. math:: s_i = \left| \frac{\partial R}{\partial |w_i|} \right| |w_i|, \quad
        R = \mathbb{1}^\top f(\mathbb{1}; |w|)

    Tanaka et al., 2020, "Pruning neural networks without any data by iteratively conserving
    synaptic flow", arXiv:2006.05467. Every update is made in rounds, each removing the same
    fraction of what remains, with scores of what the last round left: in one round whole layers
    would be removed. It takes example inputs and no data. Norms run on their running statistics.

    Args:
        iterations: rounds of an update, at least 1; the paper has 100.

    Raises:
        ValueError: if ``iterations`` is less than 1.
    """

    iterations: int = 100

    reads: ClassVar[type[Evidence]] = Flow

    def __post_init__(self) -> None:
        check_integer("iterations", self.iterations, 1, "The paper has 100.")

    @property
    @override
    def rounds(self) -> int:
        """The iterations."""
        return self.iterations

    @override
    def write(self, out: list[Tensor], weights: list[Tensor], observed: list[Tensor]) -> None:
        """Write the absolute products of weight and flow into ``out``."""
        torch._foreach_copy_(out, observed)
        torch._foreach_mul_(out, weights)
        torch._foreach_abs_(out)
