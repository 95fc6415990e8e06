"""`Report`: a page of what a run asked for, reached and measured. It only looks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from os import PathLike
from pathlib import Path
from typing import Any

import lightning as L
from torch import Tensor, nn
from typing_extensions import override

from lightning_prune.arguments import check_flags, check_integer, check_name, path_of
from lightning_prune.callbacks.report.told import last_of, prunings_of, with_run
from lightning_prune.callbacks.trainer.example_inputs import require_forward_inputs
from lightning_prune.callbacks.trainer.figures import log_figures
from lightning_prune.callbacks.trainer.monitors import Attempts
from lightning_prune.callbacks.trainer.namespaces import Callback, classes
from lightning_prune.callbacks.trainer.position import is_trial
from lightning_prune.callbacks.trainer.printing import print_as_is
from lightning_prune.compaction import CompactionReport
from lightning_prune.export import ExportReport
from lightning_prune.measure.backend import Backend, check_backend
from lightning_prune.modules.gathering import has_shards
from lightning_prune.modules.inputs import ExampleInputs
from lightning_prune.modules.twin import twin
from lightning_prune.pruning import PruningReport
from lightning_prune.report.build import Sources, build_report
from lightning_prune.report.content import Update
from lightning_prune.report.history import History
from lightning_prune.report.write import require_report, write_files


class Report(Callback):
    """Write a page of the run: ``report.html``, ``report.json`` and a picture of every figure.

    The page is one file that needs no network. It tells what was asked and reached; sparsity,
    metrics and latency over the training; latency by batch and backend; widths, parameters,
    multiply-adds and milliseconds by layer; the scores of the last update of the masks; what was
    left as it was, and why. Rank zero writes it when the fit has ended, from what the other
    callbacks have made public, and from measurements of its own; what cannot be measured is said
    on the page. Of a fit that ends by an exception it writes what there is.

    The figures go to TensorBoard, MLflow, and any logger with a ``log_image``, too. The callback
    moves itself behind the others, so that it sees what they did, in any order. Nothing that fails
    here ends a fit.

    Args:
        folder: where to write; None for the log directory of the run.
        monitor: key of the metric that tells how good the model is; None for what the validation
            logs, but for losses.
        title: of the page.
        measure: count and measure by layer, and the latency, of the model in full size and of the
            compact one.
        batch_sizes: batches at which latency is measured; None for the batch of the inputs.
        backends: that are measured, as in `measure_latency`.
        example_inputs: a tensor, a tuple of positional or a dict of keyword arguments of
            ``forward``. By default ``example_input_array`` of the LightningModule, or else what its
            steps call ``forward`` with, or the inputs in the first training batch.

    Attributes:
        path: of the last page, or None before the first and on all ranks but zero.

    Raises:
        ValueError: if an argument is out of range.
        TypeError: if an argument is of another type.
        ImportError: if jinja2 or matplotlib is missing.
    """

    def __init__(
        self,
        *,
        folder: str | PathLike[str] | None = None,
        monitor: str | None = None,
        title: str = "Pruning report",
        measure: bool = True,
        batch_sizes: Sequence[int] | None = None,
        backends: Sequence[Backend] = ("eager",),
        example_inputs: Any = None,
    ) -> None:
        require_report()
        if monitor is not None:
            check_name("monitor", monitor, "It is a metric that the validation logs.")
        check_name("title", title, "It stands above the page.")
        check_flags(measure=measure)
        for batch_size in batch_sizes or ():
            check_integer("batch_sizes", batch_size, 1, "Leave it out to measure as things are.")
        for backend in backends:
            check_backend(backend, "backends")
        self.folder = None if folder is None else path_of(folder, "folder", "folder")
        self.monitor = monitor
        self.title = title
        self.measure = measure
        self.batch_sizes = batch_sizes
        self.backends = backends
        self.example_inputs = example_inputs
        self.path: Path | None = None
        self._history = History()
        self._start()

    def _start(self) -> None:
        self._attempts = Attempts("Report")
        self._to: Path | None = None
        self._before: nn.Module | None = None
        self._inputs: ExampleInputs | None = None
        self._reports: dict[str, PruningReport] = {}
        self._known: dict[str, Any] = {}

    @override
    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """Move behind the other callbacks, but before those that save checkpoints."""
        if stage != "fit":
            return
        self._history = History()  # that of a checkpoint is loaded later
        saving = classes("callbacks", "Checkpoint")
        others = [callback for callback in _callbacks(trainer) if callback is not self]
        # A new list: the old one is being gone through.
        trainer.callbacks = [  # type: ignore[attr-defined]  # lightning's connectors set it
            *(callback for callback in others if not isinstance(callback, saving)),
            self,
            *(callback for callback in others if isinstance(callback, saving)),
        ]

    @override
    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Forget an earlier fit, and find the folder, which takes all ranks."""
        self._start()
        self._to = Path(self.folder or trainer.log_dir or trainer.default_root_dir)

    @override
    def on_train_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Note what the last epoch logged."""
        self._note(trainer)

    @override
    def on_train_batch_start(
        self, trainer: L.Trainer, pl_module: L.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Note updates of the masks; find the example inputs at the first batch."""
        self._note_updates(trainer)
        measured = self.measure and trainer.is_global_zero and not has_shards(pl_module)
        if self._inputs is None and measured and not self._attempts.failed:
            with self._attempts.attempt():
                found = require_forward_inputs(self.example_inputs, pl_module, batch)
                self._inputs = found.map(Tensor.cpu)

    @override
    def on_validation_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Remember what was logged before."""
        self._known = dict(trainer.callback_metrics)

    @override
    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Note what the validation logged."""
        if trainer.state.fn == "fit" and not trainer.sanity_checking:
            self._history.note(trainer.global_step, self._new(trainer), validation=True)

    @override
    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Note where the epoch ended."""
        self._history.epochs.append(trainer.global_step)

    @override
    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Note what the last epoch logged, and keep the model in its full size."""
        self._note(trainer)
        self._note_updates(trainer)
        if trainer.is_global_zero and not has_shards(pl_module):
            with self._attempts.attempt():
                self._before = twin(pl_module)

    @override
    def teardown(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """Write what the fit and the other callbacks leave."""
        if stage == "fit":
            self._write(trainer, pl_module, "", measure=self.measure)

    @override
    def on_exception(
        self, trainer: L.Trainer, pl_module: L.LightningModule, exception: BaseException
    ) -> None:
        """Write what there is, without measuring."""
        self._note_updates(trainer)
        status = f"The fit was interrupted by {type(exception).__name__}: {exception}"
        self._write(trainer, pl_module, status, measure=False)

    @override
    def state_dict(self) -> dict[str, Any]:
        """Return what was logged so far."""
        return self._history.state_dict()

    @override
    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take over what `state_dict` returned."""
        self._history.load_state_dict(state_dict)

    def _note(self, trainer: L.Trainer) -> None:
        self._history.note(trainer.global_step, self._new(trainer), validation=False)

    def _new(self, trainer: L.Trainer) -> dict[str, Any]:
        """Return what was logged since the last call: lightning keeps what was not."""
        metrics = dict(trainer.callback_metrics)
        new = {key: value for key, value in metrics.items() if value is not self._known.get(key)}
        self._known = metrics
        return new

    def _note_updates(self, trainer: L.Trainer) -> None:
        """Note the updates of masks since the last call."""
        for pruning in prunings_of(_callbacks(trainer)):
            report = pruning.report
            if report is None or report is self._reports.get(pruning.name) or pruning.dry_run:
                continue
            self._reports[pruning.name] = report
            self._history.updates.append(
                Update(
                    pruning.name,
                    trainer.global_step,
                    trainer.current_epoch,
                    report.target,
                    report.sparsity,
                )
            )

    def _write(
        self, trainer: L.Trainer, pl_module: L.LightningModule, status: str, *, measure: bool
    ) -> None:
        """Write the page, and log its figures."""
        folder, before, inputs = self._to, self._before, self._inputs
        self._to = self._before = self._inputs = None
        if folder is None or not trainer.is_global_zero or is_trial(trainer):
            return
        writing = Attempts("Report")
        with writing.attempt():
            reports = [getattr(callback, "report", None) for callback in _callbacks(trainer)]
            compaction = last_of(reports, CompactionReport)
            sources = Sources(
                before=_placed(trainer, before) if measure else None,
                after=_placed(trainer, pl_module) if measure and compaction is not None else None,
                example_inputs=inputs,
                compaction=compaction,
                export=last_of(reports, ExportReport),
                metrics={key: float(value) for key, value in trainer.callback_metrics.items()},
                batch_sizes=self.batch_sizes,
                backends=self.backends,
            )
            report = build_report(self.title, sources)
            told = with_run(report, _callbacks(trainer), self._history, self.monitor)
            report = replace(told, status=status)
            figures = write_files(report, folder)
            self.path = folder / "report.html"
            pictures = {name: folder / f"report_{name}.png" for name in figures}
            log_figures(trainer.loggers, figures, pictures, trainer.global_step)
            print_as_is(pl_module, f"report: {self.path}")


def _callbacks(trainer: L.Trainer) -> list[Any]:
    return list(trainer.callbacks)  # type: ignore[attr-defined]  # lightning's connectors set it


def _placed(trainer: L.Trainer, model: nn.Module | None) -> nn.Module | None:
    """Return a copy of a model where it was trained: by now lightning has brought it to the CPU."""
    return None if model is None else twin(model).to(trainer.strategy.root_device)
