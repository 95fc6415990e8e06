"""Compaction as a callback: at the end of fit, the model becomes smaller in place.

It reads what is exactly zero in the weights and knows no other callback. It runs in ``on_fit_end``
because averaging callbacks copy weights back in ``on_train_end``.
"""

from __future__ import annotations

import logging
from typing import Any

import lightning as L
from lightning.pytorch.utilities import rank_zero_warn
from torch import Tensor

from lightning_prune.callbacks.example_inputs import require_example_inputs
from lightning_prune.callbacks.strategies import check_strategy
from lightning_prune.compaction import CompactionReport, compact, save_compact
from lightning_prune.inputs import ExampleInputs
from lightning_prune.measure import count_macs

log = logging.getLogger(__name__)


class Compaction(L.Callback):
    """Remove at the end of ``fit`` what pruning has zeroed, prove it and report it.

    The LightningModule is changed in place: its layers become smaller, its state-dict keys stay.
    One table is printed, the figures go to every logger under ``compaction/…``, and the report is
    kept as `report`.

    Args:
        path: where to write the compact model with `save_compact`, usually ``*.safetensors``;
            None to keep it in memory only. Checkpoints of the training hold the full-size model.
        latency: measure the latency of the masked and the compact model, in turns, on the device
            of the fit.
        example_inputs: what ``forward`` takes; by default the LightningModule's
            ``example_input_array``, else the first training batch.
        untried_strategy: let strategies through with which compaction was not tried.
    """

    def __init__(
        self,
        *,
        path: str | None = None,
        latency: bool = True,
        example_inputs: Any = None,
        untried_strategy: bool = False,
    ) -> None:
        self.path = path
        self.latency = latency
        self.example_inputs = example_inputs
        self.untried_strategy = untried_strategy
        self.report: CompactionReport | None = None
        self._inputs: ExampleInputs | None = None

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """Refuse strategies that were not tried, and those that shard the module.

        Raises:
            ValueError: if the strategy is one.
        """
        check_strategy(
            trainer,
            "Compaction",
            untried=self.untried_strategy,
            sharded="Remove Compaction and call `compact` on the gathered module.",
        )

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Forget the inputs of an earlier fit."""
        self._inputs = None

    def on_train_batch_start(
        self, trainer: L.Trainer, pl_module: L.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Settle the example inputs at the first batch, so that what is wrong shows at once.

        Raises:
            ExampleInputsError: if there are none, or the model does not run on them.
        """
        if self._inputs is None:
            inputs = require_example_inputs(self.example_inputs, pl_module, batch)
            # Kept for the whole fit, so not in the accelerator's memory.
            self._inputs = inputs.map(Tensor.cpu)
            count_macs(pl_module, self._inputs)  # only to run the model once, on a twin

    def on_fit_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Compact the model, print and log the report.

        Raises:
            ExampleInputsError: if there are no example inputs, or the model does not run on them.
            VerificationError: if nothing could be removed without changing the outputs.
        """
        # No batch was seen where a resumed run had nothing left to do.
        inputs = self._inputs or require_example_inputs(self.example_inputs, pl_module, None)
        self._inputs = None
        home = pl_module.device
        pl_module.to(trainer.strategy.root_device)
        try:
            self.report = compact(pl_module, inputs, latency=self.latency)
        finally:
            pl_module.to(home)
        pl_module.print(self.report)
        if not self.report.removed:
            self._say_why_nothing(pl_module)
        if self.path is not None and trainer.is_global_zero:
            save_compact(pl_module, self.path)
        for logger in trainer.loggers:
            logger.log_metrics(self.report.metrics(), step=trainer.global_step)
            logger.save()

    def _say_why_nothing(self, pl_module: L.LightningModule) -> None:
        """Warn that nothing was removed, with the likely cause."""
        if not all(bool(p.isfinite().all()) for p in pl_module.parameters()):
            log.warning("Nothing was removed: the weights hold NaN or infinity; the fit diverged.")
            return
        log.warning(
            "Nothing was removed: no unit is exactly zero in all its weights. Compaction removes "
            "channels that are; granularity=Channel() makes them, once its schedule has begun."
        )

    def on_exception(
        self, trainer: L.Trainer, pl_module: L.LightningModule, exception: BaseException
    ) -> None:
        """Say why a checkpoint of the training does not fit the compact model."""
        # There is no hook between the choice of a checkpoint and its loading.
        if self.report is not None and self.report.removed and "size mismatch" in str(exception):
            rank_zero_warn(
                "Expected `ckpt_path` to be None after a compaction, but got "
                f"{str(trainer.ckpt_path)!r}. A checkpoint of the training holds the model in its "
                "full size: load it into a new model, or go on with this one without it."
            )
