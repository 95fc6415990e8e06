"""The best weights under the masks in force, by a metric of the validation.

A dense epoch before the first update of the masks is usually the best one, and the wrong one to
compact; so are weights of masks that were taken back. Where nothing masks, weights with fewer zeros
never count against weights with more.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Literal

from torch import nn

from lightning_prune.measure import measure_sparsity
from lightning_prune.modules.cpu_copies import cpu_copies

Mode = Literal["min", "max"]


class BestWeights:
    """A copy of the best weights so far, on the CPU.

    Args:
        mode: whether lower or higher values are better.

    Attributes:
        value: the metric of the best weights; NaN if there are none.
        step: the optimizer step that they are from.
    """

    def __init__(self, mode: Mode) -> None:
        self.value = math.nan
        self.step = -1
        self._mode = mode
        self._zeros = -1
        self._masks: list[int] = []
        self._weights: dict[str, Any] | None = None
        self._seen: tuple[int, dict[str, Any]] | None = None

    def look(self, model: nn.Module, masks: Sequence[int]) -> None:
        """Copy the weights that are validated; forget the best ones if the masks are others now.

        Args:
            model: the module; an averaging callback may have put its averages there.
            masks: checksums of the masks in force; none where nothing masks.
        """
        if list(masks) != self._masks:
            self._masks, self._zeros, self._weights = list(masks), -1, None
            self.value, self.step = math.nan, -1
        self._seen = (_zeros(model, masks), cpu_copies(model.state_dict()))

    def judge(self, value: float, step: int) -> None:
        """Keep what was looked at last, if it is the best.

        Args:
            value: its metric.
            step: the optimizer step.
        """
        if self._seen is None:
            return
        zeros, weights = self._seen
        self._seen = None
        if math.isnan(value) or zeros < self._zeros:
            return
        better = value < self.value if self._mode == "min" else value > self.value
        if zeros > self._zeros or better:
            self.value, self.step, self._zeros, self._weights = value, step, zeros, weights

    def restore(self, model: nn.Module, masks: Sequence[int]) -> bool:
        """Put the best weights back, if they are as sparse as those that are there.

        Args:
            model: the module.
            masks: checksums of the masks in force; none where nothing masks.

        Returns:
            Whether there were any.
        """
        if self._weights is None or self._masks != list(masks):
            return False
        if self._zeros < _zeros(model, masks):
            return False
        model.load_state_dict(self._weights)
        return True

    def state_dict(self) -> dict[str, Any]:
        """Return the best weights and what is known of them."""
        return {
            "value": self.value,
            "step": self.step,
            "zeros": self._zeros,
            "masks": self._masks,
            "weights": self._weights,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take over what `state_dict` returned."""
        self.value, self.step, self._zeros = state["value"], state["step"], state["zeros"]
        self._masks, self._weights = list(state["masks"]), state["weights"]


def _zeros(model: nn.Module, masks: Sequence[int]) -> int:
    """Count the zeros in weights, but of biases and norms, which may start from zero and train on.

    Nor does any count where masks say what is removed: adapters may start from zero, too.

    Returns:
        Their number; 0 where there are masks.
    """
    return 0 if masks else measure_sparsity(model, min_ndim=2).zeros
