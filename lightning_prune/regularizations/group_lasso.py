"""The group lasso: whole units shrink to exactly zero."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor
from typing_extensions import override

from lightning_prune.arguments import check_positive
from lightning_prune.regularizations.base import Regularization


@dataclass(frozen=True)
class GroupLasso(Regularization):
    r"""Shrink the norms of the chosen units by the same length in every step, down to zero.

    .. math:: w \leftarrow w \max\left(0, \; 1 - \frac{\eta \lambda \sqrt{n}}{\lVert w \rVert_2}
        \right)

    for a unit of *n* weights and the learning rate :math:`\eta`: the proximal step of the group
    lasso. Yuan and Lin, 2006; for coupled channels Fang et al., 2023, "DepGraph", arXiv:2301.12900.

    Args:
        strength: :math:`\lambda`, more than 0.
        refresh: optimizer steps after which the units are chosen again, at least 1.

    Raises:
        ValueError: if an argument is outside its range.
    """

    strength: float = 1e-2

    @override
    def __post_init__(self) -> None:
        super().__post_init__()
        check_positive("strength", self.strength, "For none, leave the regularization out.")

    @override
    def factors(self, norms: Tensor, size: int, steps: int, rate: float) -> Tensor:
        """Return what is left of each norm, as a share of it."""
        length = rate * self.strength * size**0.5
        left: Tensor = 1.0 - length / norms.clamp_min(1e-30)
        return left.clamp_min(0.0)
