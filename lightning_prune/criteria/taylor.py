"""The first-order Taylor criterion: what the loss would feel if a weight were zero."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from lightning_prune.criteria.base import Criterion


@dataclass(frozen=True)
class Taylor(Criterion):
    r"""Score a weight by the first-order change of the loss when it is set to zero.

    .. math:: s_i = \left| \frac{\partial J}{\partial w_i} \, w_i \right|

    Molchanov et al., 2019, "Importance Estimation for Neural Network Pruning", arXiv:1906.10771.
    Scores are not normalised: steps with a larger loss weigh more.
    """

    needs_gradients: ClassVar[bool] = True

    def write(self, out: list[Tensor], weights: list[Tensor], gradients: list[Tensor]) -> None:
        """Write the absolute products of weight and gradient into ``out``.

        Args:
            out: where to write, one float32 tensor for each weight.
            weights: the weights.
            gradients: one for each weight.
        """
        torch._foreach_copy_(out, gradients)
        torch._foreach_mul_(out, weights)
        torch._foreach_abs_(out)
