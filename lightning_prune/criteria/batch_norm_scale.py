"""The scale of batch norm: network slimming."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn
from typing_extensions import override

from lightning_prune.criteria.base import Criterion
from lightning_prune.criteria.evidence import Evidence, Weights
from lightning_prune.modules.names import plain_name


@dataclass(frozen=True)
class BatchNormScale(Criterion):
    r"""Score a channel by the absolute scale that batch norm gives it.

    .. math:: s_u = |\gamma_u|

    Liu et al., 2017, "Learning Efficient Convolutional Networks through Network Slimming",
    arXiv:1708.06519; the paper trains with an L1 penalty on the scales. A group without a batch
    norm on its channels has no score and is refused by name.
    """

    reads: ClassVar[type[Evidence]] = Weights
    elementwise: ClassVar[bool] = True

    @override
    def write(self, out: list[Tensor], weights: list[Tensor], observed: list[Tensor]) -> None:
        """Write the absolute weights into ``out``."""
        torch._foreach_copy_(out, weights)
        torch._foreach_abs_(out)

    @override
    def scored(self, model: nn.Module, names: Collection[str]) -> set[str]:
        """Return the scales of batch norms."""
        norms = {
            f"{plain_name(name)}.weight"
            for name, module in model.named_modules()
            if isinstance(module, nn.modules.batchnorm._BatchNorm)
        }
        return {name for name in names if plain_name(name) in norms}
