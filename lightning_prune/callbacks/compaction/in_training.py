"""Compactions while a module trains: it becomes smaller as soon as enough of it is masked.

Optimizers, gradients, averages of weights and the masks follow it. Nothing is removed that the
compaction at the end of fit would not remove: the same function verifies both.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import lightning as L
import torch
from lightning.pytorch.utilities import rank_zero_warn
from torch import nn

from lightning_prune.callbacks.compaction.checks import (
    check_same,
    check_sizes_agree,
    cut_optimizer_states,
    holds_same,
    say_steps_change,
)
from lightning_prune.callbacks.trainer.isolation import random_numbers_kept
from lightning_prune.callbacks.trainer.masking import Narrowing, masks_in_force
from lightning_prune.callbacks.trainer.namespaces import classes
from lightning_prune.callbacks.trainer.other_callbacks import averaged_modules
from lightning_prune.callbacks.trainer.printing import say
from lightning_prune.compaction import CompactionReport, compact
from lightning_prune.compaction.full_size import FullSize
from lightning_prune.compaction.interrupts import deferred_interrupts
from lightning_prune.compaction.plan import Plan
from lightning_prune.compaction.records import plan_of
from lightning_prune.compaction.remaining import Remaining
from lightning_prune.compaction.surgery import Surgery
from lightning_prune.errors import VerificationError
from lightning_prune.measure import count_parameters
from lightning_prune.modules.inputs import ExampleInputs


class CompactionsInTraining:
    """What a module has lost in the training that runs, and when it loses more.

    Args:
        min_gain: the fraction of its parameters that must have become zero since it has lost some
            last, in (0, 1).
        allow_unused: as in `compact`.

    Attributes:
        full_size: the module before; ``None`` if it has lost nothing.
    """

    def __init__(self, min_gain: float, *, allow_unused: bool) -> None:
        self._min_gain, self._allow_unused = min_gain, allow_unused
        self.full_size: FullSize[L.LightningModule] | None = None
        self._masks: list[int] = []
        self._zeros = 0.0
        self._warned = False

    def advance(
        self,
        trainer: L.Trainer,
        pl_module: L.LightningModule,
        examples: Callable[[], list[ExampleInputs]],
    ) -> CompactionReport | None:
        """Compact the module if masks have changed, and enough of it is zero.

        Args:
            trainer: the trainer.
            pl_module: the module, between two steps.
            examples: returns what it runs on, the same on every rank.

        Returns:
            What was removed; ``None`` if it was not the time, or the proof failed, with a warning.
        """
        masks = masks_in_force(trainer)
        if masks == self._masks or not all(c.can_narrow() for c in _narrowing(trainer)):
            return None
        if zero_share(pl_module) - self._zeros < self._min_gain or self._is_foreign(pl_module):
            self._masks = masks
            return None
        started_s, before = time.perf_counter(), count_parameters(pl_module)
        try:
            # An interrupt in between would leave the optimizers with another size than the model.
            with deferred_interrupts(), random_numbers_kept():
                report = self._compact(trainer, pl_module, examples())
                self._note(masks, pl_module)
        except VerificationError as error:
            self._note(masks, pl_module)
            rank_zero_warn(f"The model trains on in the size that it has: {error}")
            return None
        seconds, after = time.perf_counter() - started_s, count_parameters(pl_module)
        say(
            pl_module,
            f"compaction in epoch {trainer.current_epoch}, step {trainer.global_step}: "
            f"{before:,} -> {after:,} parameters, verified, {seconds:.1f} s",
        )
        return report

    def _note(self, masks: list[int], pl_module: L.LightningModule) -> None:
        """Note that these masks are done with; after another failure, a resumed run tries again."""
        self._masks, self._zeros = masks, zero_share(pl_module)

    def _is_foreign(self, pl_module: L.LightningModule) -> bool:
        """Return whether the module was compact before the training, with a warning."""
        if self.full_size is not None or plan_of(pl_module) == Plan():
            return False
        if not self._warned:
            self._warned = True
            rank_zero_warn(
                "`during=True` does nothing in this fit: the model was compact before it. It "
                "becomes smaller at the end; train a new model of full size for more."
            )
        return True

    def _compact(
        self, trainer: L.Trainer, pl_module: L.LightningModule, examples: list[ExampleInputs]
    ) -> CompactionReport:
        if self.full_size is None:
            say_steps_change(trainer)
        full_size = self.full_size or FullSize(pl_module)
        modes = {module: module.training for module in pl_module.modules()}
        report = compact(pl_module, examples, latency=False, allow_unused=self._allow_unused)
        for module, training in modes.items():
            module.training = training
        if report.plan == Plan():
            return report
        self.full_size = full_size
        remaining = Remaining(report.plan.axes, pl_module)
        for name, parameter in pl_module.named_parameters():
            if parameter.grad is not None and parameter.grad.shape != parameter.shape:
                parameter.grad = remaining.narrowed(name, parameter.grad)
        cut_optimizer_states(trainer, pl_module, report.plan)
        for average in averaged_modules(trainer):
            Surgery(average).apply(replace(report.plan, values={}))
        for callback in _narrowing(trainer):
            callback.narrow(remaining)
        check_sizes_agree(trainer, pl_module)
        _wrap_anew(trainer, pl_module)
        return report

    def finish(
        self, pl_module: L.LightningModule, compacted: nn.Module, examples: list[ExampleInputs]
    ) -> Plan:
        """Remove what the module has not lost yet, at the end of the training.

        Args:
            pl_module: the module.
            compacted: the same, brought back to the full size and compacted at once.
            examples: what both run on.

        Returns:
            What was removed now.

        Raises:
            VerificationError: if both are not the same in the end.
        """
        last = _last(pl_module, examples, allow_unused=self._allow_unused)
        if not holds_same(pl_module, compacted):
            # A layer that no example runs seems to read what has its width by now, and has not in
            # the full size, where that was judged.
            last = last.then(_last(pl_module, examples, allow_unused=True))
            check_same(pl_module, compacted)
        return last

    def state_dict(self) -> dict[str, Any]:
        """Return under which masks the module was looked at last, and what was zero before."""
        return {"masks": list(self._masks), "zeros": self._zeros}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take over what `state_dict` returned."""
        self._masks, self._zeros = list(state["masks"]), float(state["zeros"])


def _last(module: nn.Module, examples: list[ExampleInputs], *, allow_unused: bool) -> Plan:
    try:
        return compact(module, examples, latency=False, allow_unused=allow_unused).plan
    except VerificationError:  # all that is left to go is what the full size was refused, too
        return Plan()


@torch.no_grad()
def zero_share(module: nn.Module) -> float:
    """Return the fraction of the elements of a module's parameters that is zero. Synchronises."""
    parameters = [parameter.detach() for parameter in module.parameters() if parameter.numel()]
    zeros = sum(p.numel() - int(p.count_nonzero()) for p in parameters)
    return zeros / max(1, sum(p.numel() for p in parameters))


def check_order(trainer: L.Trainer, compaction: L.Callback) -> None:
    """Refuse callbacks that would update masks after the compaction has looked at them.

    Args:
        trainer: the trainer.
        compaction: the callback that compacts.

    Raises:
        ValueError: if there are some behind it.
    """
    callbacks: Sequence[Any] = trainer.callbacks  # type: ignore[attr-defined]
    behind = callbacks[callbacks.index(compaction) + 1 :]
    late = [type(callback).__name__ for callback in behind if isinstance(callback, Narrowing)]
    if late:
        raise ValueError(
            "Expected Compaction(during=True) to be behind all callbacks that prune, but got "
            f"{', '.join(late)} behind it. Put it last in `callbacks`."
        )


def _narrowing(trainer: L.Trainer) -> list[Narrowing]:
    """Return the callbacks whose masks follow the module."""
    callbacks = trainer.callbacks  # type: ignore[attr-defined]  # lightning's connectors set it
    return [callback for callback in callbacks if isinstance(callback, Narrowing)]


def _wrap_anew(trainer: L.Trainer, pl_module: L.LightningModule) -> None:
    """Let DDP reduce gradients of the new sizes."""
    strategy: Any = trainer.strategy
    if isinstance(strategy, classes("strategies", "DDPStrategy")):
        strategy.model = pl_module  # the old wrapper takes its hooks along
        strategy.configure_ddp()
