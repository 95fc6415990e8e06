"""Draw sparsity, accuracy and latency over the epochs of one run."""

from __future__ import annotations

import csv
from pathlib import Path

import matplotlib as mpl

mpl.use("Agg")
import matplotlib.pyplot as plt


def draw(metrics_csv: Path, final: dict[str, float], path: Path) -> None:
    """Draw one run.

    Args:
        metrics_csv: what the CSV logger wrote.
        final: figures of the end of the run, by metric key.
        path: the picture to write.
    """
    with metrics_csv.open() as file:
        rows = list(csv.DictReader(file))
    figure, axes = plt.subplots(3, 1, sharex=True, figsize=(7, 8), layout="constrained")
    panels = (
        ("fraction removed", {"pruning/target": "target", "pruning/sparsity": "reached"}),
        ("accuracy", {"val/accuracy": "validation"}),
        ("latency, ms", {"latency/p50_ms": "p50", "latency/p95_ms": "p95"}),
    )
    last = 0.0
    for axis, (title, series) in zip(axes, panels, strict=True):
        for key, label in series.items():
            points = [(float(row["epoch"]), float(row[key])) for row in rows if row.get(key)]
            if points:
                style = {"linewidth": 5, "alpha": 0.3} if label == "target" else {"marker": "."}
                axis.plot(*zip(*points, strict=True), label=label, **style)
                last = max(last, points[-1][0])
        axis.set_ylabel(title)
        axis.grid(alpha=0.3)
    # What only the end of the run knows stands one epoch behind the last.
    axes[1].plot(
        last + 1,
        final["test/accuracy_after_compaction"],
        "r*",
        markersize=12,
        label="test, compact",
    )
    if "compaction/latency_after_p50_ms" in final:
        axes[2].plot(
            last + 1, final["compaction/latency_after_p50_ms"], "r*", markersize=12, label="compact"
        )
    axes[2].set_ylim(bottom=0)
    axes[2].set_xlabel("epoch")
    for axis in axes:
        if axis.get_legend_handles_labels()[0]:
            axis.legend()
    figure.savefig(path, dpi=120)
    plt.close(figure)
