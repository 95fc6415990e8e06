"""The accuracy guard: prune no further than a validation metric allows.

It watches a metric, and pauses or rolls back the pruning of one `Pruning` callback, of which it
knows only what `Guarded` lists. Weights are rolled back at the start of an epoch or a batch, never
between a validation and its checkpoint, so that every checkpoint holds the weights of its metric.
"""

from __future__ import annotations

import math
from typing import Any, Literal, Protocol, get_args, runtime_checkable

import lightning as L
from lightning.pytorch.utilities import rank_zero_warn
from typing_extensions import override

from lightning_prune.arguments import (
    check_choice,
    check_fraction,
    check_integer,
    check_name,
    check_number,
)
from lightning_prune.callbacks.trainer.monitored import monitored
from lightning_prune.callbacks.trainer.namespaces import Callback
from lightning_prune.callbacks.trainer.optimizers import find_optimizers
from lightning_prune.callbacks.trainer.printing import say
from lightning_prune.callbacks.trainer.strategies import check_strategy
from lightning_prune.modules.cpu_copies import cpu_copies
from lightning_prune.pruning import BasePruner, PruningReport

_VERSION = 1

Action = Literal["pause", "rollback", "stop"]


class Limited(Protocol):
    """How far pruning may go."""

    limit: float

    def set_limit(self, limit: float) -> None:
        """Set another limit, and update the masks once more as soon as possible."""


@runtime_checkable
class Guarded(Protocol):
    """What the guard asks of a pruning callback."""

    name: str
    progress: Limited
    report: PruningReport | None

    @property
    def pruner(self) -> BasePruner | None:
        """The masks."""


class AccuracyGuard(Callback):
    """Prune no further than a validation metric allows.

    The reference is the best value of the metric before anything was removed. As long as the
    metric stays within the allowed drop, every validation is remembered as good, with its weights
    and masks. While it is below, nothing more is removed; if it does not come back within
    ``patience`` validations,

    * ``"pause"`` leaves the sparsity where it is until the metric comes back,
    * ``"rollback"`` returns to the last good weights and masks and continues in smaller steps: half
      way from there to the lowest sparsity that failed, until steps are below ``min_step``,
    * ``"stop"`` returns to the last good weights and masks, and ends the training.

    A training that ends below the allowed drop returns to the last good weights, too, unless the
    guard only pauses. Every decision is logged, kept in `decisions` and in the state, which also
    holds one copy of the weights, on the CPU. A first validation that comes after the first removal
    is a reference, too, with a warning.

    Args:
        monitor: key of the metric, such as ``"val/accuracy"``.
        max_drop: allowed drop below the reference, in the unit of the metric, at least 0.
        mode: ``"max"`` if more is better, ``"min"`` if less is.
        patience: validations below the allowed drop before the guard acts, at least 1.
        action: what it does then.
        min_step: smallest step in sparsity that is tried after a rollback, in (0, 1).
        name: name of the `Pruning` callback to guard.

    Attributes:
        reference: the best value before anything was removed, ``None`` before the first.
        decisions: what was decided, in order.

    Raises:
        ValueError: if an argument is outside its range.
        TypeError: if an argument is of another type.
    """

    def __init__(
        self,
        monitor: str,
        max_drop: float = 0.01,
        *,
        mode: Literal["max", "min"] = "max",
        patience: int = 2,
        action: Action = "rollback",
        min_step: float = 0.01,
        name: str = "pruning",
    ) -> None:
        check_name("monitor", monitor, "It is a metric that the validation logs.")
        check_name("name", name, "It is that of the `Pruning` callback to guard.")
        check_number("max_drop", max_drop, 0.0, "It is in the unit of the metric.")
        check_choice("mode", mode, ("max", "min"), "Is more better, or less?")
        check_integer("patience", patience, 1, "It counts validations.")
        cure = "It is what happens when the metric does not come back."
        check_choice("action", action, get_args(Action), cure)
        check_fraction("min_step", min_step, "(0, 1)", "It is a step in sparsity.")
        self.monitor = monitor
        self.max_drop = max_drop
        self.mode = mode
        self.patience = patience
        self.action = action
        self.min_step = min_step
        self.name = name
        self._forget()

    def _forget(self) -> None:
        """Begin anew: another model is to be guarded."""
        self.reference: float | None = None
        self.decisions: list[str] = []
        self._bad = 0  # validations below the allowed drop, in a row
        self._failed = 1.0  # the lowest sparsity that did not come back
        self._limit = 1.0  # how far pruning may go while the metric is good
        self._good: dict[str, Any] | None = None

    @property
    @override
    def state_key(self) -> str:
        """The key of the state in checkpoints."""
        return f"{type(self).__qualname__}({self.name})"

    def needs_full_size(self) -> str:
        """Return why the module must not become compact meanwhile."""
        return "it could not roll back to weights that are gone. Leave out one of both."

    @override
    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """Check that there is something to guard; forget what belongs to another model."""
        sharded = "Train under DDP or on one device: whole weights are remembered."
        check_strategy(trainer, "AccuracyGuard", untried=True, sharded=sharded)
        if stage == "fit":
            pruner = self._guarded(trainer).pruner
            if pruner is None or not pruner.masks.bind(pl_module):
                self._forget()

    @override
    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Compare the metric with the reference; pause the pruning, or let it continue."""
        guarded = self._guarded(trainer)
        if trainer.sanity_checking or guarded.pruner is None:
            return
        value, sparsity = monitored(trainer, self.monitor), guarded.pruner.sparsity
        if not math.isfinite(value) and self.reference is None:
            self._record(pl_module, f"{self.monitor} {value}: no reference yet")
            return
        if self.reference is None and sparsity > 0.0:
            self._warn_late(value, sparsity)
        if self.reference is None or (sparsity == 0.0 and self._gain(value) > 0):
            self.reference = value
        if self._gain(value) >= -self.max_drop:
            self._remember(pl_module, guarded.pruner, value)
            self._continue(pl_module, guarded, sparsity)
        else:
            self._bad += 1
            guarded.progress.limit = sparsity
            self._record(pl_module, f"{self.monitor} {value:.4f} at sparsity {sparsity:.4f}: pause")

    @override
    def on_train_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Roll back if the metric did not come back."""
        self._roll_back_if_due(trainer, pl_module)

    @override
    def on_train_batch_start(
        self, trainer: L.Trainer, pl_module: L.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Roll back if the metric did not come back: validations may come within an epoch."""
        self._roll_back_if_due(trainer, pl_module)

    @override
    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Return to the last good weights if the last ones are not good; print what is reached."""
        guarded = self._guarded(trainer)
        if guarded.pruner is None or self._good is None:
            return
        if self._bad and self.action != "pause":
            self._roll_back(trainer, pl_module, guarded.pruner)
        say(
            pl_module,
            f"{self.name}, guard: sparsity {self._good['sparsity']:.4f} is the highest with a good "
            f"{self.monitor}: {self._good['value']:.4f} (reference {self.reference:.4f})",
        )

    @override
    def state_dict(self) -> dict[str, Any]:
        """Return reference, decisions, limits, and the last good weights and masks."""
        return {
            "version": _VERSION,
            "reference": self.reference,
            "decisions": list(self.decisions),
            "bad": self._bad,
            "failed": self._failed,
            "limit": self._limit,
            "good": self._good,
        }

    @override
    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take over what `state_dict` returned."""
        self.reference = state_dict["reference"]
        self.decisions = list(state_dict["decisions"])
        self._bad, self._failed = state_dict["bad"], state_dict["failed"]
        self._limit, self._good = state_dict["limit"], state_dict["good"]

    def _continue(self, pl_module: L.LightningModule, guarded: Guarded, sparsity: float) -> None:
        """Let the pruning continue, and raise its limit once the metric is good at the limit."""
        at_limit = guarded.report is not None and guarded.report.target >= self._limit - 1e-9
        if at_limit and self._limit < 1.0 and self.action == "rollback":
            self._limit = self._next_limit(sparsity)
            if self._limit > sparsity:
                self._record(pl_module, f"sparsity {sparsity:.4f} is good: on to {self._limit:.4f}")
        if self._bad or guarded.progress.limit != self._limit:
            guarded.progress.set_limit(self._limit)
        self._bad = 0

    def _roll_back_if_due(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Roll back, if that is due and there is something to return to."""
        pruner = self._guarded(trainer).pruner
        if pruner is None or self._good is None or self._bad < self.patience:
            return
        if self.action == "pause" or pruner.sparsity == 0.0:
            return
        self._failed = min(self._failed, pruner.sparsity)
        self._roll_back(trainer, pl_module, pruner)
        self._limit = self._next_limit(pruner.sparsity)
        if self.action == "stop":
            trainer.should_stop = True
            self._limit = pruner.sparsity
        self._guarded(trainer).progress.set_limit(self._limit)

    def _next_limit(self, good: float) -> float:
        """Return the middle between what is good and what failed; what is good if that is near."""
        step = (self._failed - good) / 2.0
        return good + step if step >= self.min_step else good

    def _remember(self, pl_module: L.LightningModule, pruner: BasePruner, value: float) -> None:
        """Copy weights and masks, unless sparser ones are known to be good."""
        if self._good is not None and self._good["sparsity"] > pruner.sparsity:
            return
        self._good = {
            "value": value,
            "sparsity": pruner.sparsity,
            "weights": cpu_copies(pl_module.state_dict()),
            "pruner": pruner.state_dict(),
        }

    def _roll_back(
        self, trainer: L.Trainer, pl_module: L.LightningModule, pruner: BasePruner
    ) -> None:
        """Return to the last good weights and masks."""
        if self._good is None:
            return
        failed = pruner.sparsity
        pl_module.load_state_dict(self._good["weights"])
        pruner.load_state_dict(self._good["pruner"])
        for optimizer in find_optimizers(trainer, pl_module):
            pruner.masks.apply_to_optimizer(optimizer)
        self._bad = 0
        self._record(pl_module, f"back from sparsity {failed:.4f} to {pruner.sparsity:.4f}")

    def _warn_late(self, value: float, sparsity: float) -> None:
        """Say that what counts as the dense model is none."""
        rank_zero_warn(
            f"Expected a validation with a finite {self.monitor} before `{self.name}` removes "
            f"anything, but got the first at sparsity {sparsity:.4f}. Its {value:.4f} is the "
            "reference now, so that what was lost before goes unseen. Start the schedule an epoch "
            "later, or validate earlier by `val_check_interval`."
        )

    def _record(self, pl_module: L.LightningModule, decision: str) -> None:
        self.decisions.append(decision)
        say(pl_module, f"{self.name}, guard: {decision}")

    def _gain(self, value: float) -> float:
        """Return by how much a value is better than the reference."""
        gain = value - (value if self.reference is None else self.reference)
        return gain if self.mode == "max" else -gain

    def _guarded(self, trainer: L.Trainer) -> Guarded:
        """Return the pruning callback.

        Raises:
            ValueError: if there is none of that name.
        """
        callbacks = trainer.callbacks  # type: ignore[attr-defined]  # lightning's connectors set it
        for callback in callbacks:
            if isinstance(callback, Guarded) and callback.name == self.name:
                return callback
        raise ValueError(
            f"Expected a `Pruning` callback of the name '{self.name}', but got none. Add it to the "
            "Trainer's callbacks, or say `name`."
        )
