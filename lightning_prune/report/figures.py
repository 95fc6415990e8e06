"""The figures of a report, drawn from its values with matplotlib.

Each is small enough to be read on a telephone: one panel, as wide as 400 pixels.
"""

from __future__ import annotations

import io
import re
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from itertools import pairwise
from typing import TYPE_CHECKING, Any, TypeVar

from lightning_prune.display.plots import ABOVE, draw_bars, require_axes
from lightning_prune.display.widths import clip, printable
from lightning_prune.report.content import (
    Histogram,
    Kind,
    LayerRow,
    RunReport,
    Series,
    Timing,
    Width,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_Row = TypeVar("_Row", LayerRow, Width)
_INK = "#010203"  # of lines and text; the page's own colour in its SVG
_COLORS = ("#3b8eea", "#e8833a", "#2ca58d", "#c65bcf", "#b3a125", "#d9534f")
_INCHES = (3.8, 2.6)
_STYLE: dict[Any, Any] = {
    "font.size": 9,
    "svg.fonttype": "path",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.alpha": 0.25,
    "grid.color": _INK,
    "legend.frameon": False,
    **{f"{part}color": _INK for part in ("text.", "axes.label", "axes.edge", "xtick.", "ytick.")},
}
_MOST_BARS, _MOST_HISTOGRAMS, _MOST_MARKS, _MOST_TICKS = 24, 9, 40, 8
_MOST_POINTS, _MOST_DOTS = 400, 60
_MOST_SERIES = 6
_LONGEST = 30  # characters of a name
_SHORT = 14  # names that two columns of a legend have room for
_PANELS: dict[Kind, str] = {"sparsity": "sparsity", "accuracy": "metric", "latency": "p50, ms"}
_ASKED: dict[str, Any] = {"linewidth": 6, "alpha": 0.35}  # a broad line behind what is reached
_COSTS = {"params": "parameters", "macs": "MACs", "ms": "ms, by hooks"}


def draw_figures(report: RunReport) -> dict[str, Figure]:
    """Draw what a report has data for.

    Args:
        report: what to draw.

    Returns:
        Figures by name, in the order of the page.

    Raises:
        ImportError: if matplotlib is missing.
    """
    require_axes(None)
    figures = {}
    with _drawing():
        for name, draw in _drawings(report):
            figures[name] = _figure()
            draw(figures[name].add_subplot())
            figures[name].draw_without_rendering()  # whatever it may warn of, while that is ignored
    return figures


def to_svg(figure: Figure, name: str) -> str:
    """Return a figure as an SVG element for a page, in the colour of the page's text.

    Args:
        figure: one of `draw_figures`.
        name: its name; the ids within begin with it.
    """
    file = io.StringIO()
    with _drawing():
        figure.savefig(file, format="svg", transparent=True, metadata={"Date": None})
    text = file.getvalue()
    text = re.sub(
        r"<!--.*?-->|<metadata>.*?</metadata>", "", text[text.index("<svg") :], flags=re.S
    )
    text = re.sub(r'( id="|href="#|url\(#)', rf"\g<1>{name}-", text)
    return re.sub(r"\n\s*", "\n", text).replace(_INK, "currentColor")


def to_png(figure: Figure) -> bytes:
    """Return a figure as a PNG file on white."""
    file = io.BytesIO()
    with _drawing():
        figure.savefig(file, format="png", dpi=144)
    return file.getvalue()


@contextmanager
def _drawing() -> Iterator[None]:
    import matplotlib as mpl

    with mpl.rc_context(_STYLE), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph ")  # names may be in any script
        warnings.filterwarnings("ignore", message="constrained_layout")  # or leave no room
        yield


def _figure() -> Figure:
    from matplotlib.figure import Figure

    return Figure(figsize=_INCHES, layout="constrained")


def _drawings(report: RunReport) -> Iterator[tuple[str, Callable[[Axes], None]]]:
    """Yield the name of each figure and what draws it."""
    for kind, label in _PANELS.items():
        if series := report.of_kind(kind):
            yield kind, partial(_draw_series, report=report, series=series, label=label)
    compared = [timing for timing in report.timings if timing.speedup is not None]
    whole = {
        "trade": (report.trades, partial(_draw_trades, report=report)),
        "timings": (report.timings, partial(_draw_timings, timings=report.timings)),
        "speedups": (compared, partial(_draw_speedups, timings=compared)),
        "widths": (report.widths, partial(_draw_widths, widths=report.widths)),
    }
    yield from ((name, draw) for name, (data, draw) in whole.items() if data)
    for cost, label in _COSTS.items():
        if rows := [layer for layer in report.layers if getattr(layer, f"{cost}_before")]:
            yield cost, partial(_draw_layers, rows=rows, cost=cost, label=label)
    for index, histogram in enumerate(report.histograms[:_MOST_HISTOGRAMS], 1):
        yield f"scores_{index}", partial(_draw_histogram, histogram=histogram)


def _draw_series(axes: Axes, report: RunReport, series: Sequence[Series], label: str) -> None:
    steps = sorted({update.step for update in report.updates})
    for step in steps[:: -(-len(steps) // _MOST_MARKS) or 1]:
        axes.axvline(step, color=_COLORS[5], alpha=0.7, linewidth=1, linestyle=":")
    for number, one in enumerate(series[:_MOST_SERIES]):
        points = list(zip(one.steps, one.values, strict=True))
        points = points[:: -(-len(points) // _MOST_POINTS)]
        axes.plot(
            *zip(*points, strict=True),
            color=_COLORS[number],
            marker="." if len(points) < _MOST_DOTS else "",
            label=_short(one.key),
            **(_ASKED if one.key.endswith("/target") else {}),
        )
    ends = list(enumerate(report.epochs, 1))
    if ends:
        ends = ends[len(ends) % -(-len(ends) // _MOST_TICKS) :: -(-len(ends) // _MOST_TICKS)]
        axes.set_xticks([step for _, step in ends], [str(epoch) for epoch, _ in ends])
    axes.grid(visible=False, axis="x")
    axes.set_xlabel("epochs" if ends else "optimizer steps")
    axes.set_ylabel(label)
    if label != "metric":
        axes.set_ylim(bottom=0)
    _legend(axes)


def _draw_trades(axes: Axes, report: RunReport) -> None:
    latencies = [trade.latency_ms for trade in report.trades]
    axes.plot(latencies, [t.accuracy for t in report.trades], color=_INK, alpha=0.25)
    ends = [
        next((n for n, end in enumerate(report.epochs, 1) if t.step <= end), 0)
        for t in report.trades
    ]
    points = axes.scatter(
        latencies, [t.accuracy for t in report.trades], c=ends, cmap="viridis", s=18, zorder=3
    )
    bar = axes.figure.colorbar(points, ax=axes, label="epoch")
    bar.outline.set_visible(False)
    axes.set_xlabel("p50, ms")
    axes.set_ylabel("metric")


def _draw_timings(axes: Axes, timings: Sequence[Timing]) -> None:
    timings = timings[:_MOST_BARS]
    _high(axes, len(timings))
    for row, timing in enumerate(timings):
        color = _COLORS[0] if timing.speedup is None else _COLORS[2]
        axes.barh(row, timing.p50_ms, height=0.7, color=color)
        if timing.p95_ms > timing.p50_ms:
            axes.errorbar(
                timing.p50_ms,
                row,
                xerr=[[0.0], [timing.p95_ms - timing.p50_ms]],
                color=_INK,
                capsize=2,
                linewidth=1,
            )
    names = [f"{t.what}, {t.backend}, {t.batch_size}" for t in timings]
    _name_rows(axes, names)
    axes.set_xlabel("ms per batch: p50, line to p95")


def _draw_speedups(axes: Axes, timings: Sequence[Timing]) -> None:
    timings = timings[:_MOST_BARS]
    _high(axes, len(timings))
    for row, t in enumerate(timings):
        middle = t.speedup or 0.0
        low, high = t.low or middle, t.high or middle
        axes.errorbar(
            middle,
            row,
            xerr=[[max(0.0, middle - low)], [max(0.0, high - middle)]],
            fmt="o",
            color=_COLORS[2],
            ecolor=_INK,
            capsize=3,
        )
    axes.axvline(1.0, color=_COLORS[1], linewidth=1)
    _name_rows(axes, [f"{t.what}, {t.backend}, {t.batch_size}" for t in timings])
    axes.set_ylim(len(timings) - 0.5, -0.5)
    axes.set_xlim(left=0)
    axes.set_xlabel("times as fast, with 95% interval")


def _draw_widths(axes: Axes, widths: Sequence[Width]) -> None:
    widths = _largest(widths, "before")
    _high(axes, len(widths))
    after = [width.after for width in widths]
    names = [width.group for width in widths]
    draw_bars(axes, names, [width.before for width in widths], after, label="units")


def _draw_layers(axes: Axes, rows: Sequence[LayerRow], cost: str, label: str) -> None:
    shown = _largest(rows, f"{cost}_before")
    _high(axes, len(shown))
    names = [row.name or "(the rest)" for row in shown]
    before = [getattr(row, f"{cost}_before") for row in shown]
    after = [getattr(row, f"{cost}_after") or 0 for row in shown]
    compact = any(getattr(row, f"{cost}_after") is not None for row in shown)
    draw_bars(axes, names, before, after if compact else None, label=label)


def _draw_histogram(axes: Axes, histogram: Histogram) -> None:
    edges = histogram.edges
    parts = (("kept", histogram.kept, _COLORS[0]), ("removed", histogram.removed, _COLORS[1]))
    below = [0] * len(histogram.kept)
    lengths = [right - left for left, right in pairwise(edges)]
    for label, counts, color in parts:
        axes.bar(edges[:-1], counts, lengths, below, align="edge", color=color, label=label)
        below = list(counts)
    if histogram.logarithmic:
        axes.set_xscale("log")
    else:
        axes.locator_params(axis="x", nbins=4)
    axes.set_xlabel(f"score, {_short(histogram.group)}", parse_math=False)
    axes.set_ylabel("units")
    _legend(axes)


def _largest(rows: Sequence[_Row], value: str) -> list[_Row]:
    """Return the rows of the largest values, in their order."""
    ranking = sorted(range(len(rows)), key=lambda index: -getattr(rows[index], value))
    return [rows[index] for index in sorted(ranking[:_MOST_BARS])]


def _high(axes: Axes, rows: int) -> None:
    """Make a figure as high as its bars need."""
    axes.figure.set_size_inches(_INCHES[0], max(1.6, 0.9 + 0.22 * rows))  # type: ignore[union-attr]
    axes.grid(visible=False, axis="y")


def _name_rows(axes: Axes, names: Sequence[str]) -> None:
    shown = [_short(name) for name in names]
    axes.set_yticks(range(len(names)), shown, fontsize="small", parse_math=False)
    axes.invert_yaxis()


def _short(name: str) -> str:
    return clip(printable(name), _LONGEST)


def _legend(axes: Axes) -> None:
    handles, labels = axes.get_legend_handles_labels()
    if not handles:
        return
    columns = 1 if max(map(len, labels)) > _SHORT else 2
    legend = axes.legend(handles, labels, fontsize="small", **ABOVE | {"ncols": columns})
    for text in legend.get_texts():
        text.set_parse_math(False)
