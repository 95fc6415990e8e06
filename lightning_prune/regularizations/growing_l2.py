"""A weight decay that grows until the units are removed."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from typing_extensions import override

from lightning_prune.arguments import check_integer, check_number, check_positive
from lightning_prune.regularizations.base import Regularization


@dataclass(frozen=True)
class GrowingL2(Regularization):
    r"""Decay the chosen units, with a strength that grows from step to step.

    .. math:: w \leftarrow \frac{w}{1 + \eta \lambda_t}, \quad
        \lambda_t = \min\left(\lambda_\mathrm{max}, \; \delta \left(1 + \lfloor t / k \rfloor\right)
        \right)

    with the learning rate :math:`\eta` and the steps *t* since something was removed last. Wang et
    al., 2021, "Neural Pruning via Growing Regularization", arXiv:2012.09243 (GReg-1).

    Args:
        strength: :math:`\delta`, by which the strength grows, more than 0.
        every: *k*, steps between two growths, at least 1.
        ceiling: :math:`\lambda_\mathrm{max}`, at least ``strength``.
        refresh: optimizer steps after which the units are chosen again, at least 1.

    Raises:
        ValueError: if an argument is outside its range.
    """

    strength: float = 1e-2
    every: int = 10
    ceiling: float = 10.0

    @override
    def __post_init__(self) -> None:
        super().__post_init__()
        check_positive("strength", self.strength, "For none, leave the regularization out.")
        check_integer("every", self.every, 1, "It counts optimizer steps.")
        cure = "The strength grows from `strength` to `ceiling`."
        check_number("ceiling", self.ceiling, self.strength, cure)

    @override
    def factors(self, norms: Tensor, size: int, steps: int, rate: float) -> Tensor:
        """Return the same factor for every unit."""
        strength = min(self.ceiling, self.strength * (1 + steps // self.every))
        return torch.full_like(norms, 1.0 / (1.0 + rate * strength))
