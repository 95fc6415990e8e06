"""`Sparsity`: the fraction of exact zeros, as a metric."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import nn
from typing_extensions import override

from lightning_prune.measure.sparsity import check_min_ndim, measure_sparsity
from lightning_prune.metrics.base import ModelMetric


class Sparsity(ModelMetric):
    """Fraction of exact zeros among the floating-point parameters of a model, in [0, 1].

    Args:
        min_ndim: leave out parameters with fewer dimensions, at least 0.
        include: glob patterns of the names of modules whose parameters count; None for all.
        exclude: glob patterns of the names of modules to leave out.

    Raises:
        ValueError: if ``min_ndim`` is negative.
    """

    higher_is_better: bool | None = True
    plot_lower_bound: float | None = 0.0
    plot_upper_bound: float | None = 1.0

    def __init__(
        self,
        *,
        min_ndim: int = 0,
        include: Sequence[str] | None = None,
        exclude: Sequence[str] = (),
    ) -> None:
        super().__init__()
        check_min_ndim(min_ndim)
        self.min_ndim = min_ndim
        self.include = include
        self.exclude = exclude

    @override
    def measure(self, model: nn.Module, example_inputs: Any) -> float:
        options = {"include": self.include, "exclude": self.exclude}
        return measure_sparsity(model, min_ndim=self.min_ndim, **options).total  # type: ignore[arg-type]
