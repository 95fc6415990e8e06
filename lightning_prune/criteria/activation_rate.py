"""The activation rate: how often a unit fires."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor
from typing_extensions import override

from lightning_prune.arguments import check_number
from lightning_prune.criteria.base import Criterion
from lightning_prune.criteria.evidence import Activations, Evidence
from lightning_prune.units.scores import Sides


@dataclass(frozen=True)
class ActivationRate(Criterion):
    r"""Score a unit by how often it fires over the training batches.

    .. math:: s_u = \frac{1}{N} \sum_{n} \left[ \, |x_{n,u}| > \theta \, \right]

    for the activations *x* that the reading layers see, at every position of every batch since the
    last update. Hu et al., 2016, "Network Trimming", arXiv:1607.03250, whose "average percentage
    of zeros" is one minus this. Linear layers and ungrouped convolutions are observed; a group that
    none of them reads has no score and is refused by name. Units that fire equally often are
    removed in the order of their index.

    Args:
        threshold: :math:`\theta`, from which on an activation counts as firing, at least 0.

    Raises:
        ValueError: if ``threshold`` is negative.
    """

    threshold: float = 0.0

    reads: ClassVar[type[Evidence]] = Activations
    sides: ClassVar[Sides] = "in"

    def __post_init__(self) -> None:
        check_number("threshold", self.threshold, 0.0, "It is compared with absolute activations.")

    @override
    def observe(self, inputs: Tensor) -> Tensor:
        """Return 1 where an activation counts as firing, else 0."""
        return (inputs.abs() > self.threshold).float()

    @override
    def write(self, out: list[Tensor], weights: list[Tensor], observed: list[Tensor]) -> None:
        """Write the rate of the input into the score of every weight that reads it."""
        torch._foreach_copy_(
            out, [rate.expand_as(score) for rate, score in zip(observed, out, strict=True)]
        )

    @property
    @override
    def whole_units(self) -> bool:
        """Always: a unit fires as a whole."""
        return True

    @override
    def score_units(self, rows: Sequence[Tensor]) -> Tensor:
        """Return the average rate over all that a unit feeds."""
        return torch.cat(list(rows), dim=1).mean(1)
