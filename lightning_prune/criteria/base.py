"""What a criterion is: a score for every weight.

A criterion turns the weights and gradients of one optimizer step into scores, higher = keep. It
keeps no state and reduces nothing over steps or units. Whoever removes weights by a score removes
the **lowest**: cutting "the most important 20%" is the wrong way round.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar

from torch import Tensor


class Criterion(ABC):
    """A score for every weight, from one step's weights and gradients.

    Attributes:
        needs_gradients: scores are read off gradients, and averaged over the steps since the last
            mask update; otherwise they are read off the weights when an update is due.
        shares: the scores of a step are divided by their sum before they are averaged, so that
            every step weighs the same.
    """

    needs_gradients: ClassVar[bool]
    shares: ClassVar[bool] = False

    @abstractmethod
    def write(self, out: list[Tensor], weights: list[Tensor], gradients: list[Tensor]) -> None:
        """Write the scores of this step into ``out``.

        Runs after every backward pass: no synchronisation with the device, and no loop over the
        weights where a ``torch._foreach_*`` function serves. A gradient that is not finite may
        give any score that is not finite.

        Args:
            out: where to write, one float32 tensor of the same shape for each weight.
            weights: the weights, of any floating type; never written to.
            gradients: their gradients, likewise; empty if the criterion needs none.
        """
