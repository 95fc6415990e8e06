"""What `Pruning` refuses of a trainer, and what it warns of.

Checks only; nothing here changes anything.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import lightning as L
from lightning.pytorch.utilities import rank_zero_warn

from lightning_prune.callbacks.trainer.namespaces import classes
from lightning_prune.callbacks.trainer.position import is_trial
from lightning_prune.callbacks.trainer.ranks import ranks_agree
from lightning_prune.compaction.plan import Plan
from lightning_prune.compaction.records import plan_of
from lightning_prune.errors import PruningError, TargetError
from lightning_prune.modules.news import is_news
from lightning_prune.schedules import Schedule

_LONG = 10_000  # steps of a training of which a trial is the beginning


def check_schedule(trainer: L.Trainer, schedule: Schedule) -> None:
    """Refuse a schedule that ends after the training.

    Raises:
        ValueError: if it does.
    """
    if schedule.in_fractions or is_trial(trainer):  # fractions are checked once they are steps
        return
    if schedule.period == "epoch" and trainer.max_epochs not in {None, -1}:
        _check_end(schedule, trainer.max_epochs or 0, "max_epochs")
    if schedule.period == "step" and trainer.max_steps != -1:
        _check_end(schedule, trainer.max_steps, "max_steps")


def resolve(trainer: L.Trainer, schedule: Schedule) -> Schedule:
    """Return the schedule with steps in place of fractions of a training that starts now.

    Raises:
        ValueError: if it is not known how many steps the training has, or they are too few.
    """
    if not schedule.in_fractions:
        return schedule
    if is_trial(trainer):
        return schedule.resolved(_LONG)
    automatic = trainer.lightning_module.automatic_optimization
    steps = trainer.estimated_stepping_batches if automatic else math.inf
    if math.isinf(steps) or steps == -1:
        reason = "no end of the training" if automatic else "manual optimization"
        raise ValueError(
            f"Expected a number of optimizer steps that is known when training starts for "
            f"{schedule!r}, but got {reason}. Give the schedule in epochs or steps, or set "
            "`max_steps`, or `max_epochs` and, of data without a length, `limit_train_batches`."
        )
    return schedule.resolved(int(steps))


def unfreezes(trainer: L.Trainer) -> bool:
    """Return whether a callback unfreezes layers, at a time that only it may know."""
    callbacks = trainer.callbacks  # type: ignore[attr-defined]  # lightning's connectors set it
    finetuning = classes("callbacks", "BaseFinetuning")
    return any(isinstance(found, finetuning) for found in callbacks)


def check_length(trainer: L.Trainer, schedule: Schedule) -> None:
    """Refuse a schedule that ends after the last step, which is known only when training starts.

    Raises:
        ValueError: if it does.
    """
    # With several optimizers, every one of them counts as a step; by hand, any number is made.
    automatic = trainer.lightning_module.automatic_optimization
    if len(trainer.optimizers) != 1 or not automatic or is_trial(trainer):
        return
    if schedule.period == "epoch":
        _check_end(
            schedule,
            _epochs_begun(trainer),
            f"the number of epochs in max_steps={trainer.max_steps}",
        )
        return
    expected = trainer.estimated_stepping_batches
    if expected != -1:
        _check_end(schedule, expected, "the number of optimizer steps")


def check_masks_agree(trainer: L.Trainer, pl_module: L.LightningModule, fingerprint: int) -> None:
    """Refuse to continue if the masks differ between ranks.

    Args:
        trainer: the trainer.
        pl_module: the module that is trained.
        fingerprint: a checksum of this rank's masks.

    Raises:
        PruningError: if another rank has another one.
    """
    if not ranks_agree(trainer, pl_module, fingerprint):
        raise PruningError(
            f"Expected the same masks on every rank, but got others than those of checksum "
            f"{fingerprint}. Ranks must hold equal weights and reduced gradients when masks are "
            "updated."
        )


def warn_waiting(name: str, schedule: Schedule, due: int, *, stepped: bool) -> None:
    """Warn that an update waits for a finite gradient; ``stepped`` says whether there were any."""
    cure = (
        "check the loss for NaN and the scale of mixed precision."
        if stepped
        else "no optimizer was seen to step. Gradients are read when `step` begins, of optimizers "
        "that Lightning, a module or another optimizer holds (where Lightning does not call it, "
        "without a closure). Step so, or choose a criterion that reads weights: Magnitude(), say."
    )
    rank_zero_warn(
        f"Expected a finite gradient other than zero before the update of `{name}` at "
        f"{schedule.period} {due}, but got none since the last one. The update waits; {cure}"
    )


def warn_skipped(name: str, schedule: Schedule, due: int, obstacle: TargetError) -> None:
    """Warn that an update is skipped, as everything is frozen.

    Raises:
        TargetError: if it is the last update.
    """
    if due == schedule.last:
        raise obstacle
    rank_zero_warn(f"`{name}` skips its update at {schedule.period} {due}: {obstacle}")


def warn_frozen(name: str, schedule: Schedule, due: int, obstacle: TargetError) -> None:
    """Warn that the last update waits until a callback has unfrozen something."""
    rank_zero_warn(
        f"`{name}` waits with its update at {schedule.period} {due} until something that can be "
        f"pruned is trained: {obstacle}"
    )


def warn_weights_without_optimizer(
    name: str, pl_module: L.LightningModule, weights: Sequence[str]
) -> None:
    """Warn once that weights have no scores, as no optimizer brings their gradients."""
    message = (
        f"Expected every weight that `{name}` prunes to be in an optimizer, but got none for "
        f"{', '.join(weights)}: their scores are zero, so they are removed first. Leave their "
        "modules out (`exclude`), freeze them, or choose a criterion that reads weights."
    )
    if weights and is_news(pl_module, message):
        rank_zero_warn(message)


def warn_missed(name: str, schedule: Schedule, target: float, reached: float) -> None:
    """Warn that the training ended before the last update."""
    rank_zero_warn(
        f"Expected `{name}` to reach sparsity {target} at {schedule.period} {schedule.last}, but "
        f"got {reached:.4f} when the training ended. Train for longer, end the schedule earlier, "
        "or keep other callbacks from stopping early."
    )


def warn_compact(name: str, pl_module: L.LightningModule) -> None:
    """Warn of a model that was made compact after an earlier training with the same callback."""
    if plan_of(pl_module) != Plan():
        rank_zero_warn(
            f"`{name}` begins anew with a model that is compact: the sparsity asked for is of the "
            "size that it has now. Leave the callback out to train it on."
        )


def _epochs_begun(trainer: L.Trainer) -> float:
    """Return how many epochs begin within ``max_steps``; infinity where that is not known."""
    callbacks = trainer.callbacks  # type: ignore[attr-defined]  # lightning's connectors set it
    scheduler = classes("callbacks", "GradientAccumulationScheduler")
    varies = any(isinstance(found, scheduler) for found in callbacks)
    if trainer.max_steps == -1 or varies or not trainer.lightning_module.automatic_optimization:
        return math.inf
    steps = trainer.num_training_batches / trainer.accumulate_grad_batches
    return 1 if math.isinf(steps) else math.ceil(trainer.max_steps / math.ceil(steps))


def _check_end(schedule: Schedule, limit: float, what: str) -> None:
    """Refuse a schedule that ends at or after ``limit``.

    Raises:
        ValueError: if it does.
    """
    if schedule.last >= limit:
        raise ValueError(
            f"Expected `schedule` to end at {schedule.period} {limit - 1} or earlier, as {what} "
            f"is {limit}, but got {schedule!r}. Positions count from 0; end it earlier or train "
            "longer."
        )
