"""The magnitude criterion."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor
from typing_extensions import override

from lightning_prune.arguments import check_choice
from lightning_prune.criteria.base import Criterion
from lightning_prune.criteria.evidence import Evidence, Weights


@dataclass(frozen=True)
class Magnitude(Criterion):
    r"""Score a weight by its absolute value, or by its square.

    .. math:: s_i = |w_i|^p

    Han et al., 2015, "Learning both Weights and Connections for Efficient Neural Networks",
    arXiv:1506.02626. For channels the scores add up to the L1 norm (Li et al., 2017,
    arXiv:1608.08710) or to the squared L2 norm of all that a channel owns.

    Args:
        p: 1 or 2. Single weights have the same ranking by both.

    Raises:
        ValueError: if ``p`` is neither.
    """

    p: Literal[1, 2] = 1

    reads: ClassVar[type[Evidence]] = Weights
    elementwise: ClassVar[bool] = True

    def __post_init__(self) -> None:
        check_choice("p", self.p, (1, 2), "It is the power of the weights.")

    @override
    def write(self, out: list[Tensor], weights: list[Tensor], observed: list[Tensor]) -> None:
        """Write the absolute weights, or their squares, into ``out``."""
        torch._foreach_copy_(out, weights)
        if self.p == 1:
            torch._foreach_abs_(out)
        else:
            torch._foreach_mul_(out, out)
