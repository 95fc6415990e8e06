"""The run: what one fit makes of a pruning, from its options to its masks."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import lightning as L

from lightning_prune.callbacks.pruning.binding import Binding
from lightning_prune.callbacks.pruning.checks import (
    check_length,
    check_schedule,
    resolve,
    unfreezes,
    warn_compact,
    warn_frozen,
    warn_missed,
    warn_skipped,
)
from lightning_prune.callbacks.pruning.guard import Guard
from lightning_prune.callbacks.pruning.mask_update import MaskUpdate
from lightning_prune.callbacks.pruning.rewinder import Rewinder
from lightning_prune.callbacks.trainer.calibration import (
    calibration_in_training,
    check_training_data,
)
from lightning_prune.callbacks.trainer.other_callbacks import restart_early_stopping
from lightning_prune.callbacks.trainer.position import current_position, is_trial
from lightning_prune.callbacks.trainer.printing import print_as_is
from lightning_prune.compaction.remaining import Remaining
from lightning_prune.errors import TargetError
from lightning_prune.pruning import BasePruner, PruningReport, Recipe
from lightning_prune.pruning.checks import check_start
from lightning_prune.pruning.compensating.mending import Calibration
from lightning_prune.pruning.progress import Progress
from lightning_prune.pruning.shrinkage import Shrinkage
from lightning_prune.pruning.state import VERSION, check_resumable, options_of
from lightning_prune.schedules import Schedule


class PruningRun:
    """One pruning: its options, its pruner once there is one, and how far it has come.

    Args:
        name: of the callback, for messages.
        recipe: what to prune.
        schedule: when, and how much, as it was given.
        binding: makes the pruner.
        rewinder: returns weights to an earlier step.
        shrinkage: shrinks the units of the next update.
        calibration: batches for what is mended after an update, None for those of the training.
        dry_run: remove nothing, and tell what would be removed.
        restart_early_stopping: let no early stopping end the training before the last update.
        score_every: of how many steps of an optimizer the gradients of one are read.

    Attributes:
        schedule: in steps or epochs once the training has started.
        progress: which updates are done, and how far the next may go.
        report: what the last update has reached, or a dry run would reach.
        guard: keeps masked weights at zero.
    """

    def __init__(
        self,
        name: str,
        recipe: Recipe,
        schedule: Schedule,
        *,
        binding: Binding,
        rewinder: Rewinder,
        shrinkage: Shrinkage,
        calibration: Iterable[Any] | None,
        dry_run: bool,
        restart_early_stopping: bool,
        score_every: int,
    ) -> None:
        self.schedule = self._given_schedule = schedule
        self.progress = Progress()
        self.report: PruningReport | None = None
        self._name, self._recipe, self._dry_run = name, recipe, dry_run
        self._restarts_early_stopping = restart_early_stopping
        self._binding, self._rewinder, self._shrinkage = binding, rewinder, shrinkage
        self._calibration = calibration
        self._loaded: dict[str, Any] | None = None
        self.guard = Guard(name, binding, shrinkage, self.next_target, score_every)

    @property
    def pruner(self) -> BasePruner | None:
        """The pruner, once the groups are known."""
        return self._binding.pruner

    @property
    def sparsity(self) -> float:
        """The sparsity reached; that of a loaded checkpoint until the pruner is made."""
        if self._loaded is not None:
            return float(self._loaded["sparsity"])
        return 0.0 if self.pruner is None else self.pruner.sparsity

    @property
    def _final(self) -> float:
        """The sparsity to reach in the end; that of a latency is known by the pruner."""
        return self._recipe.sparsity if self.pruner is None else self.pruner.final

    @property
    def target(self) -> float:
        """The sparsity that the schedule asked for at the last due position."""
        return self.schedule.sparsity(self.progress.due, self._final)

    def masks_in_force(self) -> int:
        """Return a checksum of the masks, the same as long as these are."""
        if self._loaded is not None:
            return int(self._loaded["checksum"])
        return 0 if self.pruner is None else self.pruner.masks.fingerprint()

    def begin(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Check the schedule against the trainer; forget what belongs to another model."""
        self.schedule = self._given_schedule
        self._check_start()
        check_schedule(trainer, self.schedule)
        self._loaded = None  # of a test with a checkpoint; the one of this fit is loaded later
        if not self._binding.fits(pl_module):
            warn_compact(self._name, pl_module)
            self._binding.forget()
            self.report, self.progress = None, Progress()
            self._rewinder.forget()
            self._shrinkage.forget()

    def end(self, trainer: L.Trainer) -> None:
        """Apply the masks once more, remove the hooks, and warn if the target was missed."""
        self.guard.stop()
        if self.pruner is not None:
            self.pruner.masks.apply()
        if self.progress.done < self.schedule.last and not (self._dry_run or is_trial(trainer)):
            warn_missed(self._name, self.schedule, self._final, self.sparsity)

    def state_dict(self) -> dict[str, Any]:
        """Return the masks, the scores since the last update, and the progress."""
        if self._loaded is not None:
            return self._loaded
        return {
            "version": VERSION,
            "options": options_of(self._recipe, self.schedule),
            "sparsity": self.sparsity,
            "checksum": self.masks_in_force(),
            **self.progress.state_dict(),
            "rewind": self._rewinder.state_dict(),
            "regularizer": self._shrinkage.state_dict(),
            "steps": self.guard.state_dict(),
            **self._binding.state_dict(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Store a state until the training starts; the parameters may not be ready before."""
        self._loaded = state

    def resolve(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Make steps of fractions of the training, whose length and data are known only now."""
        self.schedule = resolve(trainer, self._given_schedule)
        self._rewinder.check(self.schedule)
        recipe = self._recipe
        if self._calibration is None and (recipe.chooses or recipe.compensation is not None):
            check_training_data(trainer, pl_module, recipe)
        self._check_start()
        check_length(trainer, self.schedule)

    def _check_start(self) -> None:
        """Refuse criteria that a training cannot score, or that have no scores in time."""
        for alternative in self._recipe.alternatives:
            check_start(self.schedule, alternative.criterion)

    def bind(self, pl_module: L.LightningModule, batch: Any) -> None:
        """Make the pruner as soon as the groups can be known, and restore its state."""
        if self._loaded is None:
            self._binding.bind(pl_module, batch, widen=self.progress.done < self.schedule.last)
            return
        self._check_resumable(self._loaded)
        self.progress.load_state_dict(self._loaded)
        self._rewinder.load_state_dict(self._loaded["rewind"])
        self._shrinkage.load_state_dict(self._loaded["regularizer"])
        self.guard.load_state_dict(self._loaded["steps"])
        if self._binding.restore(pl_module, batch, self._loaded):
            self._loaded = None

    def _check_resumable(self, state: Mapping[str, Any]) -> None:
        """Refuse a state of other options."""
        mine = options_of(self._recipe, self.schedule)
        given = options_of(self._recipe, self._given_schedule)
        stored_early = state["options"] == given  # before its fractions were steps
        check_resumable(self._name, state, given if stored_early else mine)

    def advance(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Update the masks if an update is due by now and not done."""
        if self._dry_run:
            self._rehearse(pl_module)
            return
        self._rewinder.remember(trainer, pl_module)
        # What is frozen may be waiting for an `EarlyStopping` to end its phase.
        waits = self.progress.done < self.schedule.last and self._binding.obstacle is None
        if self._restarts_early_stopping and waits:
            restart_early_stopping(trainer)
        due = self.progress.next_due(self.schedule, current_position(trainer, self.schedule.period))
        if self._loaded is not None or due is None:
            return
        target = self.progress.target(self.schedule, due, self._final)
        if self._binding.obstacle is not None and target > 0:
            self._skip(trainer, due, self._binding.obstacle)
        elif self.pruner is not None:
            data = self._calibration_at(trainer, pl_module, due)
            update = MaskUpdate(self._name, self.schedule, self.progress, due, target, data)
            report = update(trainer, pl_module, self.pruner, self._rewinder)
            if report is not None:
                self.report = report
                self._shrinkage.forget()
                self.guard.restart()

    def _calibration_at(
        self, trainer: L.Trainer, pl_module: L.LightningModule, due: int
    ) -> Calibration | None:
        """Return the data for what is mended after an update, if something is to be."""
        recipe = self._recipe
        if not recipe.mends(self.schedule, due):
            return None
        return calibration_in_training(
            trainer, pl_module, self._calibration, recipe.samples, holds_out=recipe.chooses
        )

    def _skip(self, trainer: L.Trainer, due: int, obstacle: TargetError) -> None:
        """Leave out an update while everything is frozen; the last one may wait."""
        if due < self.schedule.last or not unfreezes(trainer):
            warn_skipped(self._name, self.schedule, due, obstacle)
            self.progress.mark_done(due)
        elif due > self.progress.due:
            warn_frozen(self._name, self.schedule, due, obstacle)
            self.progress.due = due

    def _rehearse(self, pl_module: L.LightningModule) -> None:
        """Print once what the final sparsity would remove."""
        if self.report is None and self.pruner is not None and self.pruner.ready:
            self.report = self.pruner.rehearse(self._final)
            print_as_is(pl_module, f"{self._name}, dry run; nothing is removed:\n{self.report}")

    def check(self, trainer: L.Trainer, pl_module: L.LightningModule, moment: str) -> None:
        """Mask what was revived, and follow optimizers and layers that were replaced."""
        if self.guard.check(trainer, pl_module, moment) and self.pruner is not None:
            # As when a run is resumed: the same masks on other weights.
            self.pruner.scorers.stop()
            self.pruner.masks.apply_to_copy(pl_module)
            self._loaded = self.state_dict()
            self.bind(pl_module, batch=None)

    @property
    def can_narrow(self) -> bool:
        """Whether the model may become compact now."""
        pruner = self.pruner
        if pruner is None or self._dry_run or self._loaded is not None:
            return False
        if self.next_target() is None:
            return True
        plain = self.schedule.monotone and self._rewinder.is_idle and self._shrinkage.is_idle
        return plain and pruner.can_narrow

    def narrow(self, remaining: Remaining) -> None:
        """Follow the model, which has become compact."""
        if self.pruner is not None:
            self.pruner.narrow(remaining)

    def next_target(self) -> float | None:
        """Return the sparsity of the next update, ``None`` if none is to come."""
        if not self.progress.is_unfinished(self.schedule) or (self._dry_run and self.report):
            return None
        return self.progress.next_target(self.schedule, self._final)
