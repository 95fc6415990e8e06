"""Activations: what layers read."""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor
from typing_extensions import override

from lightning_prune.criteria.evidence.inputs import Inputs


class Activations(Inputs):
    """What `Criterion.observe` returns for the inputs of linear layers and convolutions.

    It is averaged over the batches since the last update.
    """

    name: ClassVar[str] = "activations"

    @override
    def summary(self, inputs: Tensor, dim: int) -> Tensor:
        """Return the average over positions, shape ``[channels]``."""
        return self.subject.criterion.observe(inputs).movedim(dim, 0).flatten(1).mean(1)

    @override
    def observed(self) -> list[Tensor]:
        """Return the averages."""
        means = self._observer.means()
        return [self._observer.like_weight(name, means[name]) for name in self.subject.weights]
