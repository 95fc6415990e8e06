"""`ModelSize`: how many bytes a model stores, as a metric."""

from __future__ import annotations

from typing import Any, ClassVar

from torch import nn
from typing_extensions import override

from lightning_prune.measure import count_bytes
from lightning_prune.metrics.base import ModelMetric


class ModelSize(ModelMetric):
    """Bytes of the parameters and persistent buffers of a model; zeros count like any number."""

    higher_is_better: bool | None = False
    plot_lower_bound: float | None = 0.0
    unit: ClassVar[str] = "bytes"

    @override
    def measure(self, model: nn.Module, example_inputs: Any) -> float:
        return count_bytes(model)
