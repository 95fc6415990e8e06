"""`Latency`: milliseconds of one forward pass, as a metric."""

from __future__ import annotations

from typing import Any, ClassVar

from torch import nn
from typing_extensions import override

from lightning_prune.measure import measure_latency
from lightning_prune.metrics.base import ModelMetric


class Latency(ModelMetric):
    """Median latency of one forward pass of a model on the example inputs, in ms.

    An update raises an `ExampleInputsError` where the model does not run on them.

    Args:
        options: those of `measure_latency`, such as ``max_seconds`` and ``threads``.
    """

    higher_is_better: bool | None = False
    plot_lower_bound: float | None = 0.0
    unit: ClassVar[str] = "ms"

    def __init__(self, **options: Any) -> None:
        super().__init__()
        self.options = options

    @override
    def measure(self, model: nn.Module, example_inputs: Any) -> float:
        return measure_latency(model, example_inputs, **self.options).p50_ms
