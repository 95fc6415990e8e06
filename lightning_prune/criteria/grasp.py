"""GraSP, gradient signal preservation: by how much a weight raises the gradient's norm."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor
from typing_extensions import override

from lightning_prune.criteria.base import Criterion
from lightning_prune.criteria.evidence import Curvature, Evidence


@dataclass(frozen=True)
class Grasp(Criterion):
    r"""Score a weight by how much smaller the gradient's norm would be without it.

    .. math:: s_i = w_i \, (H g)_i

    with the Hessian *H* and the gradient *g* of the loss. Wang et al., 2020, "Picking Winning
    Tickets Before Training by Preserving Gradient Flow", arXiv:2002.07376, whose score is the
    negative of this, as they remove the highest. Scores have a sign.

    It takes second derivatives of the loss, so it works in `prune`, before training, and not in
    `Pruning`.
    """

    reads: ClassVar[type[Evidence]] = Curvature

    @override
    def write(self, out: list[Tensor], weights: list[Tensor], observed: list[Tensor]) -> None:
        """Write the products of weight, Hessian and gradient into ``out``."""
        torch._foreach_copy_(out, observed)
        torch._foreach_mul_(out, weights)
