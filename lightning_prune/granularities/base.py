"""What a granularity is: what a unit is.

A granularity lists every group of units that could be removed. Which of them may be is decided
elsewhere (`lightning_prune.pruning.selection`).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import ClassVar

from torch import Tensor

from lightning_prune.units import Group


class Granularity(ABC):
    """What a unit is.

    Attributes:
        needs_coupling: the units follow from the coupling of the model's axes, which takes
            example inputs to find.
    """

    needs_coupling: ClassVar[bool]

    @abstractmethod
    def groups(self, weights: Mapping[str, Tensor], coupled: Sequence[Group]) -> list[Group]:
        """Return every group of such units.

        Args:
            weights: every parameter, by name, frozen ones too.
            coupled: the groups of coupled axes; empty if none are needed.

        Returns:
            The groups, in a stable order.
        """
