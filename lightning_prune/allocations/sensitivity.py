"""The result of a sensitivity analysis: a metric over the sparsity of every group alone.

It prints, draws and is stored; it knows no model. `lightning_prune.pruning` measures it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from typing_extensions import override

from lightning_prune.arguments import check_flags, check_number
from lightning_prune.display.plots import require_axes
from lightning_prune.display.tables import format_table

if TYPE_CHECKING:
    from matplotlib.axes import Axes


@dataclass(frozen=True)
class Sensitivity:
    """A metric over the sparsity of every group alone.

    Args:
        reference: the metric of the dense model.
        curves: by the name of each group the metric at each sparsity.
    """

    reference: float
    curves: Mapping[str, Mapping[float, float]] = field(default_factory=dict)

    @override
    def __str__(self) -> str:
        sparsities = sorted({s for curve in self.curves.values() for s in curve})
        rows = [
            [name, *(f"{curve[s]:.4f}" if s in curve else "" for s in sparsities)]
            for name, curve in self.curves.items()
        ]
        table = format_table(["group", *(f"{s:g}" for s in sparsities)], rows)
        return f"dense: {self.reference:.4f}\n{table}"

    def plot(self, axes: Axes | None = None) -> Axes:
        """Draw the metric over the sparsity, a line for each group; needs matplotlib.

        Args:
            axes: where to draw; a new figure if ``None``.

        Returns:
            The axes drawn on.

        Raises:
            ImportError: if matplotlib is missing.
        """
        axes = require_axes(axes)
        for name, curve in self.curves.items():
            points = sorted({0.0: self.reference, **curve}.items())
            axes.plot(*zip(*points, strict=True), marker=".", label=name)
        axes.axhline(self.reference, color="black", linestyle=":", label="dense")
        axes.set_xlabel("sparsity of the group")
        axes.set_ylabel("metric")
        axes.legend(fontsize="small")
        return axes

    def tolerated(self, max_drop: float, *, higher_is_better: bool = True) -> dict[str, float]:
        """Return the highest sparsity of each group up to which the metric stays close.

        Args:
            max_drop: how much worse than the dense model is allowed, in the unit of the metric.
            higher_is_better: of the metric.

        Returns:
            Sparsities that were measured, by group; 0 where none is tolerated.

        Raises:
            ValueError: if ``max_drop`` is negative.
            TypeError: if an argument is of another type.
        """
        check_number("max_drop", max_drop, 0.0, "It is in the unit of the metric.")
        check_flags(higher_is_better=higher_is_better)
        sign = 1.0 if higher_is_better else -1.0
        return {
            name: _last_good(curve, sign, sign * self.reference - max_drop)
            for name, curve in self.curves.items()
        }

    def save(self, path: str | Path) -> None:
        """Write everything to a JSON file."""
        content = {
            "reference": self.reference,
            "curves": {n: dict(c) for n, c in self.curves.items()},
        }
        Path(path).write_text(json.dumps(content, indent=2))

    @classmethod
    def load(cls, path: str | Path) -> Sensitivity:
        """Return what `save` has written."""
        content = json.loads(Path(path).read_text())
        curves = {
            name: {float(sparsity): value for sparsity, value in curve.items()}
            for name, curve in content["curves"].items()
        }
        return cls(content["reference"], curves)


def _last_good(curve: Mapping[float, float], sign: float, least: float) -> float:
    """Return the last sparsity before the metric is too bad for the first time."""
    last = 0.0
    for sparsity, value in sorted(curve.items()):
        if sign * value < least:
            break
        last = sparsity
    return last
