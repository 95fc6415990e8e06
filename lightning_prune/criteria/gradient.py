"""The gradient criterion: the share of each weight in the step's gradient."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from lightning_prune.criteria.base import Criterion, Reads


@dataclass(frozen=True)
class Gradient(Criterion):
    r"""Score a weight by its share of the absolute gradient.

    .. math:: s_i = \frac{|\partial J / \partial w_i|}{\sum_j |\partial J / \partial w_j|}

    The sum runs over all weights of the step, so that every step weighs the same, whatever the
    scale of its loss. The **lowest** scores are removed. Where every gradient is zero, so are the
    scores.
    """

    reads: ClassVar[Reads] = "gradients"
    shares: ClassVar[bool] = True

    def write(self, out: list[Tensor], weights: list[Tensor], observed: list[Tensor]) -> None:
        """Write the absolute gradients into ``out``; the sum is divided out once they are added.

        Args:
            out: where to write, one float32 tensor for each weight.
            weights: ignored.
            observed: the gradients, one for each weight.
        """
        torch._foreach_copy_(out, observed)
        torch._foreach_abs_(out)
