"""`export_model`: write a model for other runtimes, run the files there, compare and measure."""

from __future__ import annotations

import random
import time
import warnings
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from functools import partial
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from lightning_prune.arguments import check_flags, check_model, check_writable, path_of
from lightning_prune.errors import ExportError
from lightning_prune.export.comparison import largest_error
from lightning_prune.export.report import Exported, ExportReport
from lightning_prune.formats import FORMATS, Exportable, Format, find_formats
from lightning_prune.measure.size import count_bytes
from lightning_prune.measure.turns import take_turns

_TOLERANCE = 1e-5
"""Largest difference, over the scale of an output, that rounding in another order may make."""
_ROUNDS = 10


def export_model(
    model: nn.Module,
    example_inputs: Any,
    path: str | PathLike[str],
    *,
    formats: Sequence[str] = ("onnx",),
    calibration: Iterable[Any] = (),
    latency: bool = True,
) -> ExportReport:
    """Write a model as files for other runtimes, run them there, compare and measure.

    Every file is run on the CPU, on several inputs and, where the model's code leaves it open, at
    several batch sizes. Its outputs must be those of the model within 1e-5 of their scale; what
    is quantised is compared as well, but may differ. A format that fails is named in the report
    with the reason, and the others are written all the same.

    Args:
        model: any module, such as a compact one; it stays as it is, and is exported in eval mode.
        example_inputs: a tensor, a tuple of positional or a dict of keyword arguments, or a `Call`
            of another method. Their batch is the one at which latency is measured.
        path: where to write, without an ending: every format adds its own.
        formats: ``"onnx"``, ``"openvino"``, ``"executorch"``, ``"torch.export"``, and quantised to
            eight bits ``"onnx-int8-dynamic"`` and ``"onnx-int8-static"``.
        calibration: batches for ``"onnx-int8-static"``, each in the form of ``example_inputs``.
        latency: measure the latency in every runtime, in turns.

    Returns:
        What was written, the errors and the latencies.

    Raises:
        ValueError: if a format is not known, ``path`` cannot be written, or calibration is missing.
        TypeError: if an argument is of another type.
        ModuleNotFoundError: if what a format needs is not installed.
        ExampleInputsError: if the model does not run on the inputs.
        ExportError: if no file was made that computes what the model computes.

    Examples:
        >>> import tempfile
        >>> model, x = nn.Linear(3, 2), torch.randn(4, 3)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     report = export_model(model, x, folder + "/small", formats=["torch.export"])
        >>> report["torch.export"].max_rel_error, report.dynamic_batch
        (0.0, True)
    """
    check_model(model)
    check_flags(latency=latency)
    found = find_formats(formats)
    stem = path_of(path)
    paths = {name: Path(f"{stem}{one.suffix}") for name, one in found.items()}
    for file in paths.values() if Path(stem).name and not stem.endswith("/") else [stem]:
        check_writable(file)
    batches = list(calibration)
    uncalibrated = [name for name, one in found.items() if one.calibrated and not batches]
    if uncalibrated:
        raise ValueError(
            f"Expected `calibration` to hold batches for {', '.join(uncalibrated)}, but got none. "
            "Pass some ten batches of training inputs."
        )
    with warnings.catch_warnings(), torch.inference_mode(False), torch.no_grad():
        warnings.simplefilter("ignore")  # of exporters about themselves; the comparison will tell
        exportable = Exportable.of(model, example_inputs, batches)
        rows = {"torch": Exported(None, count_bytes(exportable.model))}
        for name, one in found.items():
            rows[name] = _export(one, exportable, paths[name])
        if latency:
            rows = _with_latency(rows, exportable)
    inputs, threads = exportable.inputs, torch.get_num_threads()
    report = ExportReport(rows, inputs.batch_size, exportable.dynamic, threads)
    if len(report.problems) == len(found):
        raise ExportError(
            f"Expected `formats` to hold one that this model can be exported to, but got "
            f"{', '.join(found)}:\n{report}"
        )
    return report


def _export(one: Format, exportable: Exportable, path: Path) -> Exported:
    """Write one file, run and compare it; what goes wrong becomes its problem."""
    try:
        one.write(exportable, path)
        error = largest_error(exportable, one.load(path), calibrated=one.calibrated)
        row = Exported(str(path), sum(file.stat().st_size for file in one.files(path)), error)
    except Exception as failure:  # whatever an exporter or a runtime raises
        for file in one.files(path):
            file.unlink(missing_ok=True)
        return Exported(None, problem=f"{type(failure).__name__}: {failure}")
    if one.exact and not error <= _TOLERANCE:
        problem = f"its outputs differ by {error:.1e} of their scale, more than {_TOLERANCE:g}"
        return replace(row, problem=problem)
    return row


def _with_latency(rows: dict[str, Exported], exportable: Exportable) -> dict[str, Exported]:
    """Return the rows with latencies, measured in turns of some runs each."""
    inputs, named = exportable.inputs, exportable.named(exportable.inputs)
    loaded = {
        name: FORMATS[name].load(Path(row.path))
        for name, row in rows.items()
        if row.path is not None and row.problem is None
    }

    def eager() -> None:
        with torch.inference_mode():
            inputs.map(torch.clone)(exportable.model)

    runs = {"torch": eager} | {name: partial(run, named) for name, run in loaded.items()}
    times_ms: dict[str, list[float]] = {name: [] for name in runs}
    for seed in range(_ROUNDS):
        # In another order each time: where the machine is shared, whoever else runs comes at
        # regular intervals, and would always hit the same runtime.
        for name in random.Random(seed).sample(list(runs), len(runs)):
            # Several runs in a row: the first one finds the caches full of another's weights.
            run_ms, seconds = partial(_run_ms, runs[name]), 1 / _ROUNDS
            times = take_turns([run_ms], warmup_runs=2, min_runs=3, max_seconds=seconds)
            times_ms[name].extend(times[:, 0])
    quantiles = {name: np.quantile(found, [0.5, 0.95]) for name, found in times_ms.items()}
    measured = {
        name: replace(rows[name], p50_ms=float(p50), p95_ms=float(p95))
        for name, (p50, p95) in quantiles.items()
    }
    return rows | measured


def _run_ms(run: Callable[[], object]) -> float:
    started_ns = time.perf_counter_ns()
    run()
    return (time.perf_counter_ns() - started_ns) / 1e6
