"""The first-order Taylor criterion: how the loss would change if a weight were zero."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor
from typing_extensions import override

from lightning_prune.arguments import check_flags
from lightning_prune.criteria.base import Criterion
from lightning_prune.criteria.evidence import Evidence, Gradients
from lightning_prune.units.scores import sum_of


@dataclass(frozen=True)
class Taylor(Criterion):
    r"""Score a weight by the first-order change of the loss when it is set to zero.

    .. math:: s_i = \left| \frac{\partial J}{\partial w_i} \, w_i \right|

    Molchanov et al., 2019, "Importance Estimation for Neural Network Pruning", arXiv:1906.10771.
    Scores are not normalised: steps with a larger loss weigh more.

    Args:
        squared: use the paper's squared form, in which the weights of a unit are added up, with
            their signs, before the square: :math:`s_u = (\sum_{i \in u} g_i w_i)^2`. It is the
            change for the unit as a whole, where the default adds up the absolute changes for its
            weights; it costs a reduction to units in every step.

    Raises:
        TypeError: if ``squared`` is neither True nor False.
    """

    squared: bool = False

    reads: ClassVar[type[Evidence]] = Gradients
    elementwise: ClassVar[bool] = True

    def __post_init__(self) -> None:
        check_flags(squared=self.squared)

    @override
    def write(self, out: list[Tensor], weights: list[Tensor], observed: list[Tensor]) -> None:
        """Write the products of weight and gradient into ``out``, absolute unless squared."""
        torch._foreach_copy_(out, observed)
        torch._foreach_mul_(out, weights)
        if not self.squared:
            torch._foreach_abs_(out)

    @property
    @override
    def whole_units(self) -> bool:
        """Whether the squared form is asked for."""
        return self.squared

    @override
    def score_units(self, rows: Sequence[Tensor]) -> Tensor:
        """Return the square of the sum over all weights of a unit."""
        if not self.squared:
            return super().score_units(rows)
        return sum_of([row.sum(1) for row in rows]).square()
