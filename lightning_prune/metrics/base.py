"""`ModelMetric`: a metric of torchmetrics that looks at a model instead of predictions."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar, cast

import torch
import torchmetrics
from torch import Tensor, nn
from typing_extensions import override


def _last(values: Tensor) -> Tensor:
    """Return the last of several measurements, shape ``[measurements]``."""
    return values[-1]


class ModelMetric(torchmetrics.Metric):
    """One number of a model; the last update counts.

    Metrics of this kind go together in a `torchmetrics.MetricCollection`, logged with
    ``self.log_dict`` and drawn with ``plot()`` like any other. Under DDP every rank measures, and
    what the last one measured is computed.

    Example:
        >>> from lightning_prune.metrics import ModelSize, Sparsity
        >>> both = torchmetrics.MetricCollection([Sparsity(), ModelSize()])
        >>> both.update(nn.Linear(4, 2))
        >>> both.compute()
        {'Sparsity': tensor(0.), 'ModelSize': tensor(40.)}
    """

    is_differentiable: bool | None = False
    full_state_update: bool | None = False
    unit: ClassVar[str] = ""

    def __init__(self) -> None:
        super().__init__()
        # Each has a name of its own: a collection takes states of one name for one state.
        self._state = type(self).__name__.lower()
        self.add_state(self._state, torch.tensor(torch.nan), dist_reduce_fx=_last)

    @override
    def update(self, model: nn.Module, example_inputs: Any = None) -> None:
        """Measure a model.

        Args:
            model: any module; it stays as it is.
            example_inputs: what ``model(...)`` takes, for metrics that run it.
        """
        value = torch.tensor(float(self.measure(model, example_inputs)), device=self.device)
        setattr(self, self._state, value)

    @override
    def compute(self) -> Tensor:
        """Return the number that was measured last, NaN before the first update."""
        return cast(Tensor, getattr(self, self._state))

    @abstractmethod
    def measure(self, model: nn.Module, example_inputs: Any) -> float:
        """Return the number.

        Args:
            model: any module.
            example_inputs: what it takes, None if they were not given.
        """

    @override
    def plot(self, val: Tensor | Sequence[Tensor] | None = None, ax: Any = None) -> Any:
        """Draw a value, or several in their order.

        Args:
            val: what `compute` or ``forward`` has returned; by default what it returns now.
            ax: axes of matplotlib; by default new ones.

        Returns:
            The figure and the axes.
        """
        axes: Any
        figure, axes = self._plot(val, ax)
        if self.unit:
            axes.set_ylabel(self.unit)
        return figure, axes
