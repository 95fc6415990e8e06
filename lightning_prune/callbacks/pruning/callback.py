"""Pruning as a callback: zero what scores lowest while the model trains, and keep it at zero.

Nothing is removed here and nothing is renamed: the state dict keeps its keys and shapes. Masks are
updated at the start of an epoch or a batch, never at an epoch's end, so that every checkpoint
holds the very weights that its metrics were computed with.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

import lightning as L
from torch.optim import Optimizer
from typing_extensions import override

from lightning_prune.allocations import Allocation, Global
from lightning_prune.arguments import check_flags, check_integer, check_kind, check_name
from lightning_prune.callbacks.pruning.binding import Binding
from lightning_prune.callbacks.pruning.rewinder import Rewinder
from lightning_prune.callbacks.pruning.run import PruningRun
from lightning_prune.callbacks.trainer.namespaces import Callback
from lightning_prune.callbacks.trainer.strategies import check_strategy
from lightning_prune.compaction.remaining import Remaining
from lightning_prune.compensations import Compensation
from lightning_prune.criteria import Criterion, Gradient
from lightning_prune.granularities import Channel, Granularity
from lightning_prune.measure.backend import Backend
from lightning_prune.pruning import BasePruner, PruningReport, Recipe, Rewinding
from lightning_prune.pruning.checks import (
    check_batches,
    check_refitted,
    check_regularization,
    check_release,
)
from lightning_prune.pruning.comparing.auto import refuse_auto
from lightning_prune.pruning.progress import Progress
from lightning_prune.pruning.recipe import asked
from lightning_prune.pruning.shrinkage import Shrinkage
from lightning_prune.regularizations import Regularization
from lightning_prune.schedules import OneShot, Schedule
from lightning_prune.units.cost import Of


class Pruning(Callback):
    """Zero the units of the lowest scores on a schedule, and keep them at zero.

    Scores are averaged over the optimizer steps since the last update of the masks. The units with
    the **lowest** scores are zeroed, and stay zero with every optimizer. Metrics:
    ``<name>/sparsity``, what is reached, and ``<name>/target``, what the schedule asks for, both as
    fractions of what may be pruned (`SparsityMonitor` counts exact zeros in all weights instead).

    Args:
        sparsity: final fraction removed, in [0, 1); never "of what remains".
        latency_ms: in place of a sparsity, the p50 that the compact model is to have, in ms.
        criterion: gives every weight a score.
        granularity: what is removed: channels, heads, blocks or single weights.
        schedule: when, and how much. An update due in epoch *e* happens at the start of epoch *e*.
            Fractions of the training become steps when it starts: of all those that ``max_epochs``
            and ``max_steps`` allow.
        allocation: how the sparsity is shared among groups.
        of: of what the sparsity is a fraction, counted over what is prunable: ``"parameters"``,
            ``"macs"``, ``"units"`` or ``"latency"``: the milliseconds of a forward pass of the
            first example, on rank zero. At every update they are measured, on unverified compact
            copies, until asked and measured agree; a resumed run measures anew.
        backend: what runs the model for that: ``"eager"``, ``"compile"``, ``"cuda_graph"``,
            ``"onnxruntime"``, ``"openvino"`` or ``"executorch"``.
        include: glob patterns of the names of modules to prune; None for all.
        exclude: glob patterns of the names of modules to leave alone.
        score_every: read the gradients of one of so many steps of every optimizer, at least 1; the
            first after an update is always among them. More cost less, and tell less.
        rewind: return the kept weights, or the learning rate, to an earlier step after every
            update; None for not.
        regularization: shrink the units that the next update would remove; None for not.
        compensation: after every update, fit the weights that read removed units so that they
            return what they did; None for not. With `Rewinding` of weights it would be undone.
        renew_norms: estimate the statistics of batch norms anew after every update; of a schedule
            in steps after the last one, as training does so in between. Not of sharded models.
        calibration: batches for both, and for `Auto`, in place of examples from all over the
            training data; needed for it and for compensation where these cannot be read in any
            order.
        name: prefix of the metrics, and key of the state in checkpoints; two of these callbacks
            need two names.
        example_inputs: what ``forward`` takes, or a `Call` of another method, or a list of such
            examples; by default the LightningModule's ``example_input_array``, else what its steps
            call ``forward`` with, else the first element of the first training batch. The steps
            themselves are coupled beside it, as far as they run on that batch. Single weights
            need none.
        allow_unused: units may also go where a parameter that no example runs might read them.
        dry_run: remove nothing: as soon as there are scores (with the first batch, or after the
            first step), print what the final sparsity would remove, and train on unpruned.
        restart_early_stopping: let no `EarlyStopping` end the training by its patience before the
            last update of the masks, and let it count from zero then.
        untried_strategy: let strategies through with which pruning was not tried.

    Attributes:
        recipe: what to prune; the schedule says when.
        report: what the last update has reached, or a dry run would reach.
        schedule: when, and how much; in steps or epochs once the training has started.
        progress: which updates are done, and the sparsity beyond which none goes.

    Raises:
        ValueError: if ``sparsity`` is outside its range, ``of`` is none of its words, or options do
            not go together.
        TypeError: if an argument is of another type, a class or a name instead of an object, say.
    """

    def __init__(
        self,
        sparsity: float | None = None,
        criterion: Criterion = Gradient(),  # noqa: B008 (frozen, and shows in the command line)
        *,
        latency_ms: float | None = None,
        granularity: Granularity = Channel(),  # noqa: B008
        schedule: Schedule = OneShot(epoch=1),  # noqa: B008
        allocation: Allocation = Global(),  # noqa: B008
        of: Of = "parameters",
        backend: Backend = "eager",
        include: Sequence[str] | None = None,
        exclude: Sequence[str] = (),
        score_every: int = 1,
        rewind: Rewinding | None = None,
        regularization: Regularization | None = None,
        compensation: Compensation | None = None,
        renew_norms: bool = True,
        calibration: Iterable[Any] | None = None,
        name: str = "pruning",
        example_inputs: Any = None,
        allow_unused: bool = False,
        dry_run: bool = False,
        restart_early_stopping: bool = False,
        untried_strategy: bool = False,
    ) -> None:
        check_kind("schedule", schedule, Schedule)
        check_integer("score_every", score_every, 1, "It is a number of steps.")
        check_name("name", name, "It is the prefix of the metrics and the key of the state.")
        check_flags(
            dry_run=dry_run,
            restart_early_stopping=restart_early_stopping,
            untried_strategy=untried_strategy,
        )
        sparsity, of = asked(sparsity, latency_ms, of)
        what = (sparsity, criterion, granularity, allocation, of, include, exclude)
        recipe = Recipe(*what, schedule.regrows, allow_unused, latency_ms, backend)
        self.recipe = replace(recipe, compensation=compensation, renew_norms=renew_norms)
        check_release(schedule, granularity)
        self.name = name
        self.example_inputs = example_inputs
        self.dry_run = dry_run
        self.restart_early_stopping = restart_early_stopping
        self.untried_strategy = untried_strategy
        check_refitted(compensation, rewind)
        check_batches("calibration", calibration)
        plain = rewind is None and regularization is None and compensation is None
        words = "Leave out `rewind`, `regularization` and `compensation`."
        if dry_run:
            refuse_auto(criterion, "a dry run")
        self._if_sharded = None if plain else words
        check_regularization(regularization, criterion)
        self._run = PruningRun(
            name,
            self.recipe,
            schedule,
            binding=Binding(self.recipe, example_inputs),
            rewinder=Rewinder(rewind, schedule),
            shrinkage=Shrinkage(regularization),
            calibration=calibration,
            dry_run=dry_run,
            restart_early_stopping=restart_early_stopping,
            score_every=score_every,
        )

    @property
    @override
    def state_key(self) -> str:
        """The key of the state in checkpoints."""
        return f"{type(self).__qualname__}({self.name})"

    @property
    def schedule(self) -> Schedule:
        """When, and how much; in steps or epochs once the training has started."""
        return self._run.schedule

    @property
    def progress(self) -> Progress:
        """Which updates are done, and the sparsity beyond which none goes."""
        return self._run.progress

    @property
    def report(self) -> PruningReport | None:
        """What the last update has reached, or a dry run would reach."""
        return self._run.report

    @property
    def pruner(self) -> BasePruner | None:
        """The pruner, once the training has started and the groups are known."""
        return self._run.pruner

    def masks_in_force(self) -> int:
        """Return a checksum of the masks, the same as long as these are."""
        return self._run.masks_in_force()

    def can_narrow(self) -> bool:
        """Return whether the model may become compact now: nothing of the full size is needed."""
        return self._run.can_narrow

    def narrow(self, remaining: Remaining) -> None:
        """Follow the model, which has become compact.

        Args:
            remaining: what it has of the size that it had.
        """
        self._run.narrow(remaining)

    @override
    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """Check the options against the trainer; forget what belongs to another model."""
        if stage != "fit":
            return
        check_strategy(trainer, "Pruning", untried=self.untried_strategy, sharded=self._if_sharded)
        self._run.begin(trainer, pl_module)

    @override
    def on_fit_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Check the options against the model, which is complete only now."""
        self.recipe.check(pl_module)

    @override
    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Make the pruner, and hook into every optimizer."""
        self._run.resolve(trainer, pl_module)
        self._run.bind(pl_module, batch=None)
        self._run.check(trainer, pl_module, "a training starts")

    @override
    def on_train_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Follow what was replaced, and update the masks if that is due."""
        self._run.check(trainer, pl_module, "an epoch starts")
        self._run.advance(trainer, pl_module)

    @override
    def on_train_batch_start(
        self, trainer: L.Trainer, pl_module: L.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Update the masks if that is due; a resumed epoch starts here."""
        self._run.guard.start(trainer)
        # First the masks, so that layers unfrozen just now are not judged before their first step.
        self._run.advance(trainer, pl_module)
        self._run.bind(pl_module, () if batch is None else batch)  # a step may fetch it by itself
        self._run.advance(trainer, pl_module)
        if self.pruner is None:
            return
        if self._run.next_target() is not None:
            self.pruner.scorers.start(only_training=True)
        else:  # what comes now is of no use; and copies of the module would keep the hooks
            self.pruner.scorers.stop()

    @override
    def on_before_optimizer_step(
        self, trainer: L.Trainer, pl_module: L.LightningModule, optimizer: Optimizer
    ) -> None:
        """Read the gradients of this step, then mask them."""
        self._run.guard.announce(trainer, optimizer)

    @override
    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, *args: Any, **kwargs: Any
    ) -> None:
        """Mask the weights that no hook has masked."""
        self._run.guard.end_batch(trainer, pl_module)

    @override
    def on_validation_batch_start(
        self,
        trainer: L.Trainer,
        pl_module: L.LightningModule,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Mask the very weights that are validated, which may be others."""
        first = batch_idx == 0 and dataloader_idx == 0
        if first and trainer.state.fn == "fit" and not trainer.sanity_checking:
            self._run.check(trainer, pl_module, "a validation starts")

    @override
    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Log what is reached and what was asked for."""
        self._run.check(trainer, pl_module, "an epoch ends")
        metrics = {f"{self.name}/sparsity": self._run.sparsity}
        pl_module.log_dict(metrics, prog_bar=True, sync_dist=True, batch_size=1)
        pl_module.log(f"{self.name}/target", self._run.target, sync_dist=True, batch_size=1)

    @override
    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Apply the masks once more, remove the hooks, and warn if the target was missed."""
        self._run.end(trainer)

    @override
    def on_fit_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Zero again what an averaging callback has copied back in ``on_train_end``."""
        if self.pruner is not None and self.pruner.masks.bind(pl_module):
            self.pruner.masks.apply()

    @override
    def on_exception(
        self, trainer: L.Trainer, pl_module: L.LightningModule, exception: BaseException
    ) -> None:
        """Remove the hooks."""
        self._run.guard.stop()

    @override
    def teardown(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """Remove the hooks."""
        self._run.guard.stop()

    @override
    def on_save_checkpoint(
        self, trainer: L.Trainer, pl_module: L.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Mask the weights that are saved."""
        self._run.guard.check_state(checkpoint["state_dict"], "a checkpoint is saved")

    @override
    def state_dict(self) -> dict[str, Any]:
        """Return the masks, the scores since the last update, and the progress."""
        return self._run.state_dict()

    @override
    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Store a state until the training starts; the parameters may not be ready before."""
        self._run.load_state_dict(state_dict)
