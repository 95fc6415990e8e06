"""Wanda: weights and activations."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor
from typing_extensions import override

from lightning_prune.criteria.base import Criterion
from lightning_prune.criteria.evidence import Activations, Evidence


@dataclass(frozen=True)
class Wanda(Criterion):
    r"""Score a weight by its absolute value times the norm of what it is multiplied with.

    .. math:: s_{ij} = |w_{ij}| \, \lVert x_j \rVert_2

    where the norm is the root mean square of the *j*-th input over all positions of the batches
    since the last update. Sun et al., 2023, "A Simple and Effective Pruning Approach for Large
    Language Models", arXiv:2306.11695; the paper compares weights within each output, as ``NM``
    does; `Uniform` compares them within each layer. Linear layers and ungrouped convolutions are
    observed; other weights have no score, and a group with none is refused by name.
    """

    reads: ClassVar[type[Evidence]] = Activations

    @override
    def observe(self, inputs: Tensor) -> Tensor:
        """Return the squares."""
        return inputs.float().square()

    @override
    def write(self, out: list[Tensor], weights: list[Tensor], observed: list[Tensor]) -> None:
        """Write the absolute weights times the norms of their inputs into ``out``."""
        torch._foreach_copy_(out, weights)
        torch._foreach_abs_(out)
        torch._foreach_mul_(
            out, [square.sqrt().expand_as(o) for square, o in zip(observed, out, strict=True)]
        )
