"""No evidence but the weights themselves."""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor
from typing_extensions import override

from lightning_prune.criteria.evidence.base import Evidence


class Weights(Evidence):
    """Nothing beside the weights: scores are read off them when an update is due."""

    name: ClassVar[str] = "weights"

    @property
    @override
    def survives_compaction(self) -> bool:
        """Always: nothing is gathered."""
        return True

    @override
    def observed(self) -> list[Tensor]:
        """Return nothing."""
        return []
