"""The brain surgeon: what least squares on the other inputs cannot restore."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor
from typing_extensions import override

from lightning_prune.criteria.base import Criterion
from lightning_prune.criteria.evidence import Covariances, Evidence
from lightning_prune.units.scores import Sides


@dataclass(frozen=True)
class BrainSurgeon(Criterion):
    r"""Score a weight by the error that is left when the others of its row make up for it.

    .. math:: s_{ij} = w_{ij}^2 \, / \, [C_S^{-1}]_{jj}

    where *C* holds the covariances of the inputs of the layer, over all positions of the batches
    since the last update, and *S* are the inputs that would not have gone before the *j*-th; the
    reciprocal is the variance of the *j*-th that the others do not explain. It goes with
    `LeastSquares`, which lets them make up for it. Of units only what reads them counts. Hassibi
    and Stork, 1992, "Second Order Derivatives for Network Pruning"; by layers as in Frantar and
    Alistarh, 2022, "Optimal Brain Compression", arXiv:2208.11580. Linear layers and ungrouped
    convolutions are observed, of these the channels and not the places of the kernel; other
    weights have no score, nor have single ones, and a group with none is refused by name. Holds the
    square of the number of input channels in 32 bits, for each layer that is observed.
    """

    reads: ClassVar[type[Evidence]] = Covariances
    sides: ClassVar[Sides] = "in"
    single_weights: ClassVar[bool] = False

    @override
    def write(self, out: list[Tensor], weights: list[Tensor], observed: list[Tensor]) -> None:
        """Write the squared weights times the variances that are left into ``out``."""
        torch._foreach_copy_(out, weights)
        torch._foreach_mul_(out, out)
        left = [v.to(o).clamp_min(0).expand_as(o) for v, o in zip(observed, out, strict=True)]
        torch._foreach_mul_(out, left)
