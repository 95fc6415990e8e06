"""The report of a comparison: what a model scores, right after each candidate has pruned it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from typing_extensions import override

from lightning_prune.allocations.base import Allocation
from lightning_prune.criteria.base import Criterion
from lightning_prune.display.plots import draw_bars, require_axes
from lightning_prune.display.tables import format_table

if TYPE_CHECKING:
    from matplotlib.axes import Axes


@dataclass(frozen=True)
class Tried:
    """A candidate that was tried.

    Args:
        criterion: gave the scores.
        allocation: shared the sparsity among groups.
        value: of the pruned and mended model on held-out data: the loss or the metric.
        seconds: that it took to prune, to mend and to measure.
    """

    criterion: Criterion
    allocation: Allocation
    value: float
    seconds: float


@dataclass(frozen=True)
class Comparison:
    """Candidates compared on held-out data; prints as a table.

    Args:
        tried: the candidates, in their order, as far as there was time; at least one.
        dense: the value of the model as it was before.
        untried: the candidates for which no time was left.
        measure: what was measured.
        higher_is_better: of the values.
    """

    tried: tuple[Tried, ...]
    dense: float
    untried: tuple[str, ...] = ()
    measure: str = "loss"
    higher_is_better: bool = False

    @property
    def best(self) -> Tried:
        """The trial of the best value, the first of equals; what is no number is the worst."""
        return self.tried[self.best_index]

    @property
    def best_index(self) -> int:
        """The index of the best trial."""
        return self._ranking[0]

    @override
    def __str__(self) -> str:
        rows = [
            [str(t.criterion), str(t.allocation), f"{t.value:.4f}", f"{t.seconds:.1f}"]
            for t in (self.tried[index] for index in self._ranking)
        ]
        table = format_table(["criterion", "allocation", self.measure, "seconds"], rows)
        lines = [f"{self.measure} on held-out data, {self.dense:.4f} before; the best first", table]
        return "\n".join(lines + [f"no time was left for {name}" for name in self.untried])

    def line(self) -> str:
        """Return the candidates with their values, the best first."""
        ranked = [self.tried[index] for index in self._ranking]
        values = [f"{t.value:.4f} {t.criterion} with {t.allocation}" for t in ranked]
        return f"chosen by the {self.measure} on held-out data: {', '.join(values)}"

    def plot(self, axes: Axes | None = None) -> Axes:
        """Draw a bar for each trial, the best first, and the value before; needs matplotlib.

        Args:
            axes: where to draw; a new figure if ``None``.

        Returns:
            The axes drawn on.

        Raises:
            ImportError: if matplotlib is missing.
        """
        axes = require_axes(axes, rows=len(self.tried))
        trials = [self.tried[index] for index in self._ranking]
        names = [f"{type(t.criterion).__name__}, {type(t.allocation).__name__}" for t in trials]
        draw_bars(axes, names, [t.value for t in trials], label=f"{self.measure} after pruning")
        axes.axvline(self.dense, color="black", linestyle=":", label="dense")
        axes.legend(fontsize="small")
        return axes

    @property
    def _ranking(self) -> list[int]:
        """The indices of the trials, the best first."""
        sign = -1 if self.higher_is_better else 1
        ranks = [math.inf if math.isnan(t.value) else sign * t.value for t in self.tried]
        return sorted(range(len(ranks)), key=ranks.__getitem__)
