"""One update of the masks during training, and of all that depends on them.

That are rewound weights, the state of optimizers and averages of weights; ranks are compared.
"""

from __future__ import annotations

from dataclasses import dataclass

import lightning as L
from lightning.pytorch.utilities import rank_zero_warn

from lightning_prune.callbacks.pruning.checks import (
    check_masks_agree,
    warn_waiting,
    warn_weights_without_optimizer,
)
from lightning_prune.callbacks.pruning.rewinder import Rewinder
from lightning_prune.callbacks.trainer.isolation import random_numbers_kept
from lightning_prune.callbacks.trainer.optimizers import find_optimizers, parameters_of
from lightning_prune.callbacks.trainer.other_callbacks import averaged_modules
from lightning_prune.callbacks.trainer.printing import say
from lightning_prune.display.widths import terminal_width
from lightning_prune.pruning import BasePruner, PruningReport
from lightning_prune.pruning.compensating.mending import Calibration
from lightning_prune.pruning.progress import Progress
from lightning_prune.schedules import Schedule


@dataclass(frozen=True)
class MaskUpdate:
    """One update.

    Args:
        name: of the callback, for messages.
        schedule: says whether masks may be released, and what is exchanged.
        progress: which updates are done; this one is noted there.
        due: the position in the schedule.
        target: the sparsity to reach.
        calibration: data for what is mended afterwards, ``None`` = nothing is.
    """

    name: str
    schedule: Schedule
    progress: Progress
    due: int
    target: float
    calibration: Calibration | None = None

    def __call__(
        self,
        trainer: L.Trainer,
        pl_module: L.LightningModule,
        pruner: BasePruner,
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
            if self.due > self.progress.due == self.progress.done:  # none has waited before
                warn_waiting(self.name, self.schedule, self.due, stepped=pruner.scorers.started)
            self.progress.due = self.due
            return None
        before = pruner.sparsity
        report = self._update(trainer, pl_module, pruner, rewinder)
        self.progress.mark_done(self.due)
        self._say(pl_module, before, report)
        return report

    def _say(self, pl_module: L.LightningModule, before: float, report: PruningReport) -> None:
        """Print what is reached; of many updates in steps, those that reach the next percent."""
        last = self.due == self.schedule.last
        if (
            last
            or self.schedule.period == "epoch"
            or int(100 * before) < int(100 * report.sparsity)
        ):
            head = f"{self.name}, {self.schedule.period} {self.due}: "
            line = head + report.line(terminal_width() - len(head))
            say(pl_module, line, *(report.notes() if last else ()))
        if last and self.target > 0.0 and report.sparsity == 0.0:
            rank_zero_warn(
                f"Expected `{self.name}` to remove something in the end, but got a sparsity of "
                f"{self.target:.3g}, which is nearer to nothing than to one unit. Ask for more, or "
                "prune single weights."
            )

    def _removes(self, pruner: BasePruner) -> bool:
        """Return whether something is removed, be it again, for which there must be scores."""
        return pruner.removes(self.target, monotone=self.schedule.monotone)

    def _update(
        self,
        trainer: L.Trainer,
        pl_module: L.LightningModule,
        pruner: BasePruner,
        rewinder: Rewinder,
    ) -> PruningReport:
        """Update the masks and what depends on them."""
        optimizers = find_optimizers(trainer, pl_module)
        if self._removes(pruner):
            stepped = {id(p) for optimizer in optimizers for p in parameters_of(optimizer)}
            names = pruner.scorers.weights_without_optimizer(stepped)
            warn_weights_without_optimizer(self.name, pl_module, names)
        before = pruner.masks.fingerprint()
        with random_numbers_kept():
            report = pruner.follow(
                self.target,
                monotone=self.schedule.monotone,
                share=self.schedule.exchange(self.due),
                optimizers=optimizers,
                add_up=lambda part: trainer.strategy.reduce(part, reduce_op="sum"),
                calibration=self.calibration,
            )
        if pruner.masks.fingerprint() != before:
            rewinder.rewind(trainer, pl_module)
            pruner.masks.apply()
        for average in averaged_modules(trainer):
            pruner.masks.apply_to_copy(average)
        check_masks_agree(trainer, pl_module, pruner.masks.fingerprint())
        return report
