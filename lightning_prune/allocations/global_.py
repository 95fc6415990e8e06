"""All groups ranked together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from lightning_prune.allocations.base import Allocation


@dataclass(frozen=True)
class Global(Allocation):
    """Rank the units of all groups together, by their scores as they are.

    Groups that score low lose more. Each keeps at least one unit.
    """

    def priorities(self, scores: Sequence[Tensor]) -> list[Tensor]:
        """Return the scores themselves.

        Args:
            scores: scores of each group's units, each of shape ``[units]``.

        Returns:
            The same tensors.
        """
        return list(scores)
