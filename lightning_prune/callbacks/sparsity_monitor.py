"""`SparsityMonitor`: logs how sparse the weights are. It only looks."""

from __future__ import annotations

from collections.abc import Sequence

import lightning as L
from typing_extensions import override

from lightning_prune.arguments import check_integer, check_list
from lightning_prune.callbacks.trainer.monitors import Attempts
from lightning_prune.callbacks.trainer.namespaces import Callback
from lightning_prune.measure.sparsity import Sparsity, check_min_ndim, check_names, measure_sparsity


class SparsityMonitor(Callback):
    """Log the fraction of exact zeros in the weights after training epochs.

    It reads the weights themselves, whatever made the zeros. Metrics: ``sparsity/<parameter>``, by
    the name in the state dict, and ``sparsity/total`` over all of these parameters. They count what
    cannot be pruned, and frozen parameters, too; ``pruning/sparsity`` is a fraction of what can be.
    What `Compaction(during=True)` has removed is there no more, and so counts no more.

    Args:
        every_n_epochs: log after every n-th epoch, at least 1.
        min_ndim: leave out parameters with fewer dimensions, at least 0. The default leaves out
            biases and the scales of normalisations, many of which start at zero.
        include: glob patterns of the names of modules whose parameters are logged; None for all.
        exclude: glob patterns of the names of modules to leave out, such as a frozen teacher.

    Attributes:
        sparsity: the last measurement, or None before the first.

    Raises:
        ValueError: if an argument is out of range.
        TypeError: if an argument is of another type.
    """

    def __init__(
        self,
        *,
        every_n_epochs: int = 1,
        min_ndim: int = 2,
        include: Sequence[str] | None = None,
        exclude: Sequence[str] = (),
    ) -> None:
        cure = "To log nothing, remove the callback."
        check_integer("every_n_epochs", every_n_epochs, 1, cure)
        check_min_ndim(min_ndim)
        check_list("include", () if include is None else include)
        check_list("exclude", exclude)
        self.every_n_epochs = every_n_epochs
        self.min_ndim = min_ndim
        self.include = include
        self.exclude = exclude
        self.sparsity: Sparsity | None = None
        self._attempts = Attempts("SparsityMonitor")

    @override
    def on_fit_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Refuse patterns that name no module of the model, which is complete only now."""
        check_names(pl_module, self.include, self.exclude)

    @override
    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Forget an earlier fit."""
        self._attempts = Attempts("SparsityMonitor")

    @override
    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Measure and log, on every rank: sharded parameters are counted together."""
        if self._attempts.failed or (trainer.current_epoch + 1) % self.every_n_epochs:
            return
        with self._attempts.attempt():
            self.sparsity = measure_sparsity(
                pl_module, min_ndim=self.min_ndim, include=self.include, exclude=self.exclude
            )
            metrics = {
                f"sparsity/{name}": value for name, value in self.sparsity.parameters.items()
            }
            metrics["sparsity/total"] = self.sparsity.total
            # All ranks log the same value; unsynchronised, Lightning would warn about every name.
            pl_module.log_dict(metrics, sync_dist=True, batch_size=1)
