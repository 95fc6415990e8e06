"""The group lasso: whole units shrink to exactly zero."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from typing_extensions import override

from lightning_prune.arguments import check_number, check_positive
from lightning_prune.regularizations.base import Regularization


@dataclass(frozen=True)
class GroupLasso(Regularization):
    r"""Shrink the norms of the chosen units by the same length in every step, down to zero.

    .. math:: w \leftarrow w \max\left(0, \; 1 - \frac{\eta \lambda \sqrt{n}}{\lVert w \rVert_2}
        \right)

    for a unit of *n* weights and the learning rate :math:`\eta`: the proximal step of the group
    lasso, Yuan and Lin, 2006. With ``growth`` the strength is that of Fang et al., 2023, "DepGraph:
    Towards Any Structural Pruning", arXiv:2301.12900: within a group it grows towards the units of
    the lowest norm,

    .. math:: \lambda_k = \lambda \, 2^{\alpha \frac{\lVert w \rVert_\mathrm{max}^2 -
        \lVert w_k \rVert^2}{\lVert w \rVert_\mathrm{max}^2 - \lVert w \rVert_\mathrm{min}^2}}

    Args:
        strength: :math:`\lambda`, more than 0.
        growth: :math:`\alpha`, how often the strength doubles from the unit of the highest norm to
            that of the lowest that is not zero, at least 0; the paper takes 4.
        refresh: optimizer steps after which the units are chosen again, at least 1.

    Raises:
        ValueError: if an argument is outside its range.
    """

    strength: float = 1e-2
    growth: float = 0.0

    @override
    def __post_init__(self) -> None:
        super().__post_init__()
        check_positive("strength", self.strength, "For none, leave the regularization out.")
        check_number("growth", self.growth, 0.0, "It counts doublings of the strength.")

    @override
    def factors(self, norms: Tensor, size: int, steps: int, rate: float) -> Tensor:
        """Return what is left of each norm, as a share of it."""
        length = rate * self.strength * size**0.5 * self._grown(norms)
        left: Tensor = 1.0 - length / norms.clamp_min(1e-30)
        return left.clamp_min(0.0)

    def _grown(self, norms: Tensor) -> Tensor:
        """Return how many times as strongly each unit shrinks as that of the highest norm."""
        squares = (norms / norms.amax().clamp_min(1e-30)).square()
        lowest = torch.where(squares > 0, squares, torch.ones_like(squares)).amin()
        share = (1.0 - squares) / (1.0 - lowest).clamp_min(1e-30)
        return torch.exp2(self.growth * share.clamp(0.0, 1.0))
