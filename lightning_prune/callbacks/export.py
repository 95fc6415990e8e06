"""`Export`: at the end of a fit, the model becomes files for other runtimes."""

from __future__ import annotations

from collections.abc import Sequence
from os import PathLike
from typing import Any

import lightning as L
import torch
from lightning.pytorch.utilities import rank_zero_warn
from torch import Tensor
from typing_extensions import override

from lightning_prune.arguments import check_flags, check_integer, check_writable, path_of
from lightning_prune.callbacks.trainer.example_inputs import (
    find_example_inputs,
    require_forward_inputs,
)
from lightning_prune.callbacks.trainer.namespaces import Callback
from lightning_prune.callbacks.trainer.position import is_trial
from lightning_prune.callbacks.trainer.printing import print_as_is
from lightning_prune.callbacks.trainer.steps import try_steps
from lightning_prune.callbacks.trainer.strategies import check_strategy
from lightning_prune.export import ExportReport, export_model
from lightning_prune.formats import find_formats
from lightning_prune.modules.inputs import ExampleInputs


class Export(Callback):
    """Write the trained model as files for other runtimes, run them there, compare and measure.

    It runs in ``teardown``, after ``on_fit_end`` of every other callback, so in any order of
    callbacks it exports what `Compaction` left. Rank zero does so, from a copy on the CPU.

    One table is printed, and the figures go to every logger and to ``trainer.callback_metrics``:
    ``export/<format>/p50_ms``, ``p95_ms``, ``max_rel_error`` and ``bytes``. What cannot be exported
    is warned of, with the reason; it never ends a fit.

    Args:
        path: where to write, without an ending: every format adds its own. Nothing is written by
            ``fast_dev_run``.
        formats: as in `export_model`.
        calibration_batches: how many training batches ``"onnx-int8-static"`` is calibrated with,
            at least 1: those with which a fit begins, as the steps pass them to ``forward``.
        latency: measure the latency in every runtime.
        example_inputs: a tensor, a tuple of positional or a dict of keyword arguments of
            ``forward``. By default ``example_input_array`` of the LightningModule, or else what its
            steps call ``forward`` with, or the inputs in the first training batch.

    Attributes:
        report: the last `ExportReport`, or None before the first and on all ranks but zero.

    Raises:
        ValueError: if a format is not known, or a number out of range.
        TypeError: if an argument is of another type.
        ModuleNotFoundError: if what a format needs is not installed.
    """

    def __init__(
        self,
        path: str | PathLike[str],
        formats: Sequence[str] = ("onnx",),
        *,
        calibration_batches: int = 8,
        latency: bool = True,
        example_inputs: Any = None,
    ) -> None:
        check_integer("calibration_batches", calibration_batches, 1, "Ten are plenty.")
        check_flags(latency=latency)
        self.path = path_of(path)
        self._formats = find_formats(formats)
        self.calibration_batches = calibration_batches
        self.latency = latency
        self.example_inputs = example_inputs
        self.report: ExportReport | None = None
        self._inputs: ExampleInputs | None = None
        self._calibration: list[ExampleInputs] = []

    @override
    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """Refuse sharded modules, and files that cannot be written."""
        check_strategy(
            trainer,
            "Export",
            untried=True,  # it only looks
            sharded="Export what `load_compact` makes of the file of Compaction(path=...).",
        )
        if stage == "fit":
            check_writable(self.path)
            for one in self._formats.values():
                check_writable(f"{self.path}{one.suffix}")

    @override
    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Forget an earlier fit."""
        self._inputs, self._calibration = None, []

    @override
    def on_train_batch_start(
        self, trainer: L.Trainer, pl_module: L.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Keep the inputs of the first batch, and of as many as calibration asks for."""
        if self._inputs is None:
            found = require_forward_inputs(self.example_inputs, pl_module, batch)
            self._inputs = found.map(Tensor.cpu)
        calibrated = any(one.calibrated for one in self._formats.values())
        if calibrated and len(self._calibration) < self.calibration_batches:
            called = try_steps(pl_module, batch).forward or self._inputs
            self._calibration.append(called.map(Tensor.cpu))

    @override
    def teardown(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """Export the model that the fit and the other callbacks leave."""
        if stage != "fit" or not trainer.is_global_zero or is_trial(trainer):
            return
        inputs = self._inputs or next(
            iter(find_example_inputs(self.example_inputs, pl_module, None)), None
        )
        calibration = self._calibration
        self._inputs, self._calibration = None, []
        if inputs is None:
            rank_zero_warn("Nothing was exported: the fit had no batch.")
            return
        try:
            self.report = export_model(
                pl_module,
                inputs,
                self.path,
                formats=list(self._formats),
                calibration=calibration or [inputs],
                latency=self.latency,
            )
        except Exception as error:  # whatever a model's own code raises
            rank_zero_warn(f"Nothing was exported: {type(error).__name__}: {error}")
            return
        self._publish(trainer, self.report)

    def _publish(self, trainer: L.Trainer, report: ExportReport) -> None:
        """Print and log the report, and warn of what is missing."""
        print_as_is(trainer.lightning_module, report)
        for name, problem in report.problems.items():
            rank_zero_warn(f"Nothing to use was exported to {name}: {problem}")
        metrics = report.metrics()
        for logger in trainer.loggers:
            logger.log_metrics(metrics, step=trainer.global_step)
            logger.save()
        values = {key: torch.tensor(value, dtype=torch.float64) for key, value in metrics.items()}
        trainer.callback_metrics.update(values)
