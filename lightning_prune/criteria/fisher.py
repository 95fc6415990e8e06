"""The Fisher criterion: the curvature of the loss, estimated by squared gradients."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor
from typing_extensions import override

from lightning_prune.arguments import check_flags
from lightning_prune.criteria.base import Criterion
from lightning_prune.criteria.evidence import Evidence, Gradients


@dataclass(frozen=True)
class Fisher(Criterion):
    r"""Score a weight by its squared gradient, the diagonal of the empirical Fisher information.

    .. math:: s_i = \left( \frac{\partial J}{\partial w_i} \right)^2

    Averaged over steps, each with the mean gradient of its batch. The Fisher information replaces
    the Hessian's diagonal in Optimal Brain Damage (LeCun et al., 1989), whose score is
    half of it times the squared weight: Theis et al., 2018, "Faster gaze prediction with dense
    networks and Fisher pruning", arXiv:1801.05787.

    Args:
        obd: score by :math:`\frac12 g_i^2 w_i^2`, the increase of the loss, to second order, if
            the weight were zero.

    Raises:
        TypeError: if ``obd`` is neither True nor False.
    """

    obd: bool = False

    reads: ClassVar[type[Evidence]] = Gradients
    elementwise: ClassVar[bool] = True

    def __post_init__(self) -> None:
        check_flags(obd=self.obd)

    @override
    def write(self, out: list[Tensor], weights: list[Tensor], observed: list[Tensor]) -> None:
        """Write the squared gradients into ``out``."""
        torch._foreach_copy_(out, observed)
        if self.obd:
            torch._foreach_mul_(out, weights)
        torch._foreach_mul_(out, out)
        if self.obd:
            torch._foreach_mul_(out, 0.5)
