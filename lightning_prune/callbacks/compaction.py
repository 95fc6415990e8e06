"""Compaction as a callback: at the end of fit, the model becomes smaller in place.

It reads what is exactly zero in the weights and knows no other callback. It runs in ``on_fit_end``
because averaging callbacks copy weights back in ``on_train_end``.
"""

from __future__ import annotations

import logging
from typing import Any

import lightning as L

from lightning_prune.callbacks.example_inputs import find_example_inputs, require_example_inputs
from lightning_prune.compaction import CompactionReport, compact

log = logging.getLogger(__name__)


class Compaction(L.Callback):
    """Remove at the end of ``fit`` what pruning has zeroed, prove it and report it.

    The LightningModule is changed in place: its layers become smaller, its state-dict keys stay.
    One table is printed, the figures go to every logger under ``compaction/…``, and the report is
    kept as `report`.

    Args:
        latency: measure the latency of the masked and the compact model, in turns, on the device
            of the fit.
        example_inputs: what ``forward`` takes; by default the LightningModule's
            ``example_input_array``, else the first training batch.
    """

    def __init__(self, *, latency: bool = True, example_inputs: Any = None) -> None:
        self.report: CompactionReport | None = None
        self._latency = latency
        self._example_inputs = example_inputs
        self._batch: Any = None

    def on_train_batch_start(
        self, trainer: L.Trainer, pl_module: L.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Keep the first batch, in case there are no other example inputs."""
        if (
            self._batch is None
            and find_example_inputs(self._example_inputs, pl_module, None) is None
        ):
            self._batch = batch

    def on_fit_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Compact the model, print and log the report.

        Raises:
            ExampleInputsError: if there are no example inputs, or the model does not run on them.
            VerificationError: if nothing could be removed without changing the outputs.
        """
        inputs = require_example_inputs(self._example_inputs, pl_module, self._batch)
        self._batch = None
        home = pl_module.device
        pl_module.to(trainer.strategy.root_device)
        try:
            self.report = compact(pl_module, inputs, latency=self._latency)
        finally:
            pl_module.to(home)
        pl_module.print(self.report)
        if not self.report.removed:
            log.warning(
                "Nothing was removed: no unit is exactly zero in all its weights. Compaction "
                "removes channels; prune them with granularity=Channel()."
            )
        for logger in trainer.loggers:
            logger.log_metrics(self.report.metrics(), step=trainer.global_step)
            logger.save()
