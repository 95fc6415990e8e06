"""What an allocation is: how the sparsity is shared among groups.

An allocation makes unit scores of different groups comparable. It sees scores only: no model, no
target, no masks.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

from torch import Tensor


class Allocation(ABC):
    """How the sparsity is shared among groups, as removal priorities.

    Units of the **lowest** priority are removed first, whatever group they are in. Cutting "the
    most important 20%" is the wrong way round.
    """

    @abstractmethod
    def priorities(self, scores: Sequence[Tensor]) -> list[Tensor]:
        """Return the removal priorities of all units.

        Args:
            scores: scores of each group's units, each of shape ``[units]``, higher = keep; -inf
                where a unit is already dead.

        Returns:
            Floating tensors of the same shapes, comparable across groups; within a group their
            order is that of the scores.
        """
