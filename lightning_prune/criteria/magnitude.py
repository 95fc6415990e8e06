"""The magnitude criterion."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from lightning_prune.criteria.base import Criterion


@dataclass(frozen=True)
class Magnitude(Criterion):
    r"""Score a weight by its absolute value.

    .. math:: s_i = |w_i|

    Han et al., 2015, "Learning both Weights and Connections for Efficient Neural Networks",
    arXiv:1506.02626.
    """

    needs_gradients: ClassVar[bool] = False

    def write(self, out: list[Tensor], weights: list[Tensor], gradients: list[Tensor]) -> None:
        """Write the absolute weights into ``out``.

        Args:
            out: where to write, one float32 tensor for each weight.
            weights: the weights.
            gradients: ignored.
        """
        torch._foreach_copy_(out, weights)
        torch._foreach_abs_(out)
