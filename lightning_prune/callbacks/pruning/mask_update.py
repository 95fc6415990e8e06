"""One update of the masks during training, and of all that depends on them.

That are rewound weights, the state of optimizers and averages of weights; ranks are compared.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass

import lightning as L

from lightning_prune.callbacks.pruning.checks import (
    check_masks_agree,
    warn_waiting,
    warn_weights_without_optimizer,
)
from lightning_prune.callbacks.pruning.progress import Progress
from lightning_prune.callbacks.pruning.rewinder import Rewinder
from lightning_prune.callbacks.trainer.optimizers import find_optimizers, parameters_of
from lightning_prune.callbacks.trainer.other_callbacks import averaged_modules
from lightning_prune.pruning import Pruner, PruningReport
from lightning_prune.schedules import Schedule

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class MaskUpdate:
    """One update.

    Args:
        name: of the callback, for messages.
        schedule: says whether masks may be released, and what is exchanged.
        progress: which updates are done; this one is noted there.
        due: the position in the schedule.
        target: the sparsity to reach.
    """

    name: str
    schedule: Schedule
    progress: Progress
    due: int
    target: float

    def __call__(
        self,
        trainer: L.Trainer,
        pl_module: L.LightningModule,
        pruner: Pruner,
        rewinder: Rewinder,
    ) -> PruningReport | None:
        """Update the masks and what depends on them, and return what is reached.

        Args:
            trainer: the trainer.
            pl_module: the module that is trained.
            pruner: its masks.
            rewinder: returns weights to an earlier step, where masks change.

        Returns:
            What is reached, ``None`` if the update waits for scores; a warning says so once.

        Raises:
            PruningError: if the target is out of reach, or the masks of ranks differ.
        """
        if self._removes(pruner) and not pruner.ready:
            if self.due > self.progress.due:
                warn_waiting(self.name, self.schedule, self.due, stepped=pruner.scorer.started)
            self.progress.due = self.due
            return None
        report = self._update(trainer, pl_module, pruner, rewinder)
        self.progress.mark_done(self.due)
        if trainer.is_global_zero:
            log.info("%s at %s %d: %s", self.name, self.schedule.period, self.due, report)
        if self.due == self.schedule.end:
            pl_module.print(f"{self.name}: {report.summary()}")
        return report

    def _releases(self, pruner: Pruner) -> bool:
        """Return whether masks are taken away."""
        return self.target < pruner.sparsity and not self.schedule.monotone

    def _removes(self, pruner: Pruner) -> bool:
        """Return whether something is removed, be it again, for which there must be scores."""
        return self.target > (0.0 if self._releases(pruner) else pruner.sparsity)

    def _update(
        self,
        trainer: L.Trainer,
        pl_module: L.LightningModule,
        pruner: Pruner,
        rewinder: Rewinder,
    ) -> PruningReport:
        """Update the masks and what depends on them."""
        optimizers = find_optimizers(trainer, pl_module)
        if self._removes(pruner):
            stepped = {id(p) for optimizer in optimizers for p in parameters_of(optimizer)}
            names = pruner.scorer.weights_without_optimizer(stepped)
            warn_weights_without_optimizer(self.name, names)
        before = pruner.fingerprint()
        pruner.scorer.reduce(lambda part: trainer.strategy.reduce(part, reduce_op="sum"))
        if self._releases(pruner):
            for optimizer in optimizers:  # what it has kept of masked weights is not theirs
                pruner.mask_optimizer_state(optimizer)
            pruner.release()
        report = pruner.update(self.target, self.schedule.exchange(self.due))
        if pruner.fingerprint() != before:
            rewinder.rewind(trainer, pl_module)
            pruner.enforce()
        for optimizer in optimizers:
            pruner.mask_optimizer_state(optimizer)
        for average in averaged_modules(trainer):
            pruner.mask_copy(average)
        check_masks_agree(trainer, pl_module, pruner.fingerprint())
        return report
