"""The movement criterion: keep what training moves away from zero."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor
from typing_extensions import override

from lightning_prune.criteria.base import Criterion
from lightning_prune.criteria.evidence import Evidence, Gradients


@dataclass(frozen=True)
class Movement(Criterion):
    r"""Score a weight by how gradient descent moves it: highest are those moved away from zero.

    .. math:: s_i = - \frac{\partial J}{\partial w_i} \, w_i

    Sanh et al., 2020, "Movement Pruning: Adaptive Sparsity by Fine-Tuning", arXiv:2005.07683.
    Scores have a sign. They are averaged over the steps since the last update of the masks, where
    the paper adds them up over the whole training; meant for fine-tuning.
    """

    reads: ClassVar[type[Evidence]] = Gradients
    elementwise: ClassVar[bool] = True

    @override
    def write(self, out: list[Tensor], weights: list[Tensor], observed: list[Tensor]) -> None:
        """Write the negative products of weight and gradient into ``out``."""
        torch._foreach_copy_(out, observed)
        torch._foreach_mul_(out, weights)
        torch._foreach_neg_(out)
