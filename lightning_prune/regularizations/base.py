"""What a regularization is: the factors by which the weights of units shrink in a step.

It sees norms of units and a number of steps: no weights, no gradients, no masks. Which units
shrink is decided elsewhere.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, field

from torch import Tensor

from lightning_prune.arguments import check_integer


@dataclass(frozen=True)
class Regularization(ABC):
    """How the units that the next update would remove shrink, so that the update changes little.

    The shrinking is decoupled from the gradient: it follows every optimizer step, in proportion to
    the learning rate, and applies to all weights of a unit. It changes no gradient; scores depend
    on it only through the weights.

    Args:
        refresh: optimizer steps after which the units are chosen again, by the scores so far, at
            least 1.

    Raises:
        ValueError: if ``refresh`` is less than 1.
    """

    refresh: int = field(default=100, kw_only=True)

    def __post_init__(self) -> None:
        check_integer("refresh", self.refresh, 1, "It counts optimizer steps.")

    @abstractmethod
    def factors(self, norms: Tensor, size: int, steps: int, rate: float) -> Tensor:
        """Return the factors by which the weights of the units are multiplied in one step.

        Args:
            norms: L2 norms of the units, shape ``[units]``.
            size: how many weights a unit has.
            steps: optimizer steps since something was removed last.
            rate: the learning rate.

        Returns:
            Factors in [0, 1], shape ``[units]``.
        """
