"""Writing a report: a page, a JSON file and pictures, each of them whole or not at all."""

from __future__ import annotations

import os
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import replace
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import nn

from lightning_prune.arguments import path_of
from lightning_prune.compaction import CompactionReport
from lightning_prune.export import ExportReport
from lightning_prune.measure.backend import Backend
from lightning_prune.pruning import PruningReport
from lightning_prune.report.build import Sources, build_report, missing
from lightning_prune.report.content import RunReport
from lightning_prune.report.figures import draw_figures, to_png, to_svg
from lightning_prune.report.page import render, require_jinja2

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def write_report(
    folder: str | PathLike[str],
    *,
    title: str = "Pruning report",
    before: nn.Module | None = None,
    after: nn.Module | None = None,
    example_inputs: Any = None,
    pruning: PruningReport | None = None,
    compaction: CompactionReport | None = None,
    export: ExportReport | None = None,
    metrics: Mapping[str, float] | None = None,
    batch_sizes: Sequence[int] | None = None,
    backends: Sequence[Backend] = ("eager",),
) -> Path:
    """Measure what there is to measure, and write a page that shows it.

    The page, ``report.html``, is one file that needs no network; ``report.json`` holds all numbers,
    and every figure is a PNG file beside it.

    Args:
        folder: where to write; it is made where it does not exist.
        title: of the page.
        before: the model in its full size, such as a copy that was made before `compact`.
        after: the compact model.
        example_inputs: what both take, as in `compact`. Of several examples the first is measured.
        pruning: what `prune` returned.
        compaction: what `compact` returned.
        export: what `export_model` returned.
        metrics: figures of your own to list, by key.
        batch_sizes: at which latency is measured; None for the batch of the inputs.
        backends: that are measured, as in `measure_latency`.

    Returns:
        The path of the page.

    Raises:
        ImportError: if jinja2 or matplotlib is missing.
        TypeError: if ``folder`` is no path.
    """
    require_report()
    target = Path(path_of(folder, "folder", "folder"))
    sources = Sources(
        before,
        after,
        example_inputs,
        pruning,
        compaction,
        export,
        metrics or {},
        batch_sizes,
        backends,
    )
    report = build_report(title, sources)
    write_files(report, target)
    return target / "report.html"


def write_files(report: RunReport, folder: Path) -> dict[str, Figure]:
    """Write a report; what it has no data for is said in it.

    Args:
        report: what to write.
        folder: where; it is made where it does not exist.

    Returns:
        The figures by name, for loggers.

    Raises:
        ImportError: if jinja2 or matplotlib is missing.
    """
    report = replace(report, unmeasured=(*report.unmeasured, *missing(report)))
    figures = draw_figures(report)
    page = render(report, {name: to_svg(figure, name) for name, figure in figures.items()})
    folder.mkdir(parents=True, exist_ok=True)
    for name, figure in figures.items():
        _write(folder / f"report_{name}.png", to_png(figure))
    _write(folder / "report.json", report.to_json().encode())
    _write(folder / "report.html", page.encode())
    return figures


def require_report() -> None:
    """Refuse to go on without what a report is made with.

    Raises:
        ImportError: if jinja2 or matplotlib is missing.
    """
    require_jinja2()
    try:
        import matplotlib as mpl
    except ImportError as error:
        raise ImportError(
            "Expected matplotlib to be installed for a report, but got none. "
            "Run `pip install 'lightning-prune[report]'`."
        ) from error
    del mpl


def _write(path: Path, data: bytes) -> None:
    """Write a file under another name beside ``path``, then put it there in one step."""
    beside = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    try:
        beside.write_bytes(data)
        os.replace(beside, path)
    except BaseException:
        beside.unlink(missing_ok=True)
        raise
