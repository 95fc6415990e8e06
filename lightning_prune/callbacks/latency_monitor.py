"""`LatencyMonitor`: logs how long a forward pass takes. It only looks."""

from __future__ import annotations

from typing import Any

import lightning as L
from torch import Tensor
from typing_extensions import override

from lightning_prune.arguments import check_integer
from lightning_prune.callbacks.trainer.example_inputs import (
    find_example_inputs,
    require_forward_inputs,
)
from lightning_prune.callbacks.trainer.monitors import Attempts
from lightning_prune.callbacks.trainer.namespaces import Callback
from lightning_prune.callbacks.trainer.strategies import check_strategy
from lightning_prune.measure.latency import Latency, measure_latency
from lightning_prune.measure.turns import check_runs
from lightning_prune.modules.inputs import ExampleInputs

_LOGGED = ("p50_ms", "p95_ms", "measuring_s")
_AT_ONCE = 1e-9
"""Seconds after which to stop measuring: as soon as there is one run."""


class LatencyMonitor(Callback):
    """Log the latency of the module's ``forward`` after training epochs.

    Rank zero measures a copy of the module in eval mode; the training is not affected beyond the
    time that this takes, which is logged too. A module that cannot be measured is warned of once,
    after the first batch. Metrics: ``latency/p50_ms``, ``latency/p95_ms`` and
    ``latency/measuring_s``. Zeros do not make a model faster; compaction does.

    Args:
        every_n_epochs: measure after every n-th epoch, at least 1.
        warmup_runs: untimed runs before the first timed one, at least 0.
        min_runs: timed runs even where they take longer than ``max_seconds``, at least 1.
        max_seconds: when to stop, in seconds after the warm-up, greater than 0.
        example_inputs: a tensor, a tuple of positional or a dict of keyword arguments of
            ``forward``. By default ``example_input_array`` of the LightningModule, or else what its
            steps call ``forward`` with, or the inputs in the first training batch. Of a list of
            examples the first is measured.

    Attributes:
        latency: the last measurement, or None before the first and on all ranks but zero.

    Raises:
        ValueError: if an argument is out of range.
        TypeError: if an argument is no number.
    """

    def __init__(
        self,
        *,
        every_n_epochs: int = 1,
        warmup_runs: int = 3,
        min_runs: int = 10,
        max_seconds: float = 0.5,
        example_inputs: Any = None,
    ) -> None:
        cure = "To measure nothing, remove the callback."
        check_integer("every_n_epochs", every_n_epochs, 1, cure)
        check_runs(warmup_runs, min_runs, max_seconds)
        self.every_n_epochs = every_n_epochs
        self.warmup_runs = warmup_runs
        self.min_runs = min_runs
        self.max_seconds = max_seconds
        self.example_inputs = example_inputs
        self.latency: Latency | None = None
        self._inputs: ExampleInputs | None = None
        self._attempts = Attempts("LatencyMonitor")
        self._tried = False

    @override
    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """Refuse sharded modules: a forward pass on rank zero alone would wait for the others."""
        check_strategy(
            trainer,
            "LatencyMonitor",
            untried=True,  # it only looks
            sharded="Remove LatencyMonitor and call `measure_latency` on the trained module.",
        )

    @override
    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Forget an earlier fit."""
        self._inputs = None
        self._attempts = Attempts("LatencyMonitor")
        self._tried = False

    @override
    def on_train_batch_start(
        self, trainer: L.Trainer, pl_module: L.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Find the example inputs at the first batch, so that missing ones are reported at once."""
        if self._inputs is None:
            inputs = require_forward_inputs(self.example_inputs, pl_module, batch)
            # Kept for the whole fit, so not in the accelerator's memory.
            self._inputs = inputs.map(Tensor.cpu)

    @override
    def on_train_batch_end(
        self,
        trainer: L.Trainer,
        pl_module: L.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
    ) -> None:
        """Measure once after the first batch, so that what is wrong shows at once."""
        if self._tried or self._inputs is None or not trainer.is_global_zero:
            return
        self._tried = True
        with self._attempts.attempt():
            measure_latency(
                pl_module, self._inputs, warmup_runs=0, min_runs=1, max_seconds=_AT_ONCE
            )

    @override
    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Measure and log."""
        if (
            self._attempts.failed
            or (trainer.current_epoch + 1) % self.every_n_epochs
            or not trainer.is_global_zero
        ):
            return
        # A run resumed from a checkpoint of a validation end comes here before its first batch;
        # without other inputs it measures from the next epoch on.
        found = find_example_inputs(self.example_inputs, pl_module, None)
        inputs = self._inputs or next(iter(found), None)
        if inputs is None:
            return
        with self._attempts.attempt():
            self.latency = measure_latency(
                pl_module,
                inputs,
                warmup_runs=self.warmup_runs,
                min_runs=self.min_runs,
                max_seconds=self.max_seconds,
            )
            metrics = {f"latency/{key}": getattr(self.latency, key) for key in _LOGGED}
            # Together these two mean: no collective, and no warning about the lack of one.
            pl_module.log_dict(metrics, rank_zero_only=True, sync_dist=True, batch_size=1)
