"""`Macs`: multiply-adds of one forward pass, as a metric."""

from __future__ import annotations

from typing import Any, ClassVar

from torch import nn
from typing_extensions import override

from lightning_prune.measure import count_macs
from lightning_prune.metrics.base import ModelMetric


class Macs(ModelMetric):
    """Multiply-adds of one forward pass of a model on the example inputs, as a float32.

    An update raises an `ExampleInputsError` where the model does not run on them.
    """

    higher_is_better: bool | None = False
    plot_lower_bound: float | None = 0.0
    unit: ClassVar[str] = "multiply-adds"

    @override
    def measure(self, model: nn.Module, example_inputs: Any) -> float:
        return count_macs(model, example_inputs)
