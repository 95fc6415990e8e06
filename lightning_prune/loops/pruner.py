"""The pruner for a training loop of one's own."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from torch import Tensor, nn
from torch.optim import Optimizer
from torch.utils.hooks import RemovableHandle
from typing_extensions import override

from lightning_prune.allocations import Allocation, Global
from lightning_prune.arguments import check_kind
from lightning_prune.compaction import CompactionReport, compact
from lightning_prune.compensations import Compensation
from lightning_prune.coupling.unused import warn_unused
from lightning_prune.criteria import Criterion, Gradient
from lightning_prune.errors import PruningError
from lightning_prune.granularities import Channel, Granularity
from lightning_prune.measure.backend import Backend
from lightning_prune.modules.ranks import add_up, all_agree
from lightning_prune.pruning import BasePruner, PruningReport, Recipe, find_prunable
from lightning_prune.pruning.checks import (
    check_batches,
    check_calibration,
    check_loss,
    check_release,
    check_start,
)
from lightning_prune.pruning.compensating.batches import FirstBatches, calibration_of
from lightning_prune.pruning.compensating.mending import Calibration
from lightning_prune.pruning.progress import Progress
from lightning_prune.pruning.recipe import asked
from lightning_prune.pruning.state import check_resumable, options_of
from lightning_prune.schedules import OneShot, Schedule
from lightning_prune.units.cost import Of

log = logging.getLogger(__name__)

_WRAPPERS = ("DataParallel", "DistributedDataParallel", "_FabricModule")


class Pruner(BasePruner):
    """Zero the units of the lowest scores on a schedule, and keep them at zero, in any loop.

    Hooks on the optimizer read the gradients of every step and zero what is masked after it; one
    call per batch updates the masks. The same batches give the same masks as `Pruning` gives in a
    Trainer. Under `torch.distributed` every rank makes its own, and the masks are compared.

    >>> import torch
    >>> model = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2))
    >>> optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    >>> x = torch.randn(16, 4)
    >>> pruner = Pruner(model, x, sparsity=0.5, schedule=OneShot(epoch=1))
    >>> pruner.attach(optimizer)
    >>> for epoch in range(3):
    ...     _ = pruner.step(epoch)  # before every batch, of which there is one here
    ...     model(x).square().mean().backward()
    ...     optimizer.step()
    ...     optimizer.zero_grad()
    >>> report = pruner.finish(latency=False)
    >>> report.params_before, report.params_after
    (58, 30)

    Args:
        model: any module; its parameters are changed in place. What wraps it for several devices
            is looked through.
        example_inputs: what ``model(...)`` takes, as in `prune`; a batch of the data will do.
        sparsity: final fraction removed, in [0, 1); never "of what remains".
        latency_ms: in place of a sparsity, the p50 that the compact model is to have, in ms.
        criterion: gives every weight a score; one that reads gradients or activations.
        granularity: what is removed: channels, heads, blocks or single weights.
        schedule: when, and how much. It counts the epochs that `step` is told, or the steps of the
            optimizers, from 0; fractions of the training are for `Schedule.resolved`.
        allocation: how the sparsity is shared among groups.
        of: of what the sparsity is a fraction: ``"parameters"``, ``"macs"``, ``"units"`` or
            ``"latency"``, as in `prune`.
        backend: what runs the model where latency is measured, as in `prune`.
        include: glob patterns of the names of modules to prune; None for all.
        exclude: glob patterns of the names of modules to leave alone.
        batches: calibration data for the two below. Without a ``loss`` a batch is what
            ``model(...)`` takes.
        loss: ``loss(model, batch)`` runs the model on one of them, and returns a scalar; by it
            `Auto` chooses.
        compensation: after every update, fit the weights that read removed units, as in `prune`.
        renew_norms: estimate the statistics of batch norms anew after every update, where there
            are ``batches``.
        allow_unused: units may also go where a parameter that no example runs might read them.

    Attributes:
        masks: what is kept; ``masks.apply()`` zeroes the rest again, ``masks.apply_to_copy(model)``
            in an average of the weights.
        schedule: when, and how much.
        steps: how often the optimizers have stepped.

    Raises:
        ValueError: if an argument is out of range, options do not go together, or a pattern names
            no module.
        TypeError: if an argument is of another type.
        TargetError: if nothing can be pruned, or not as much as was asked for.
        ExampleInputsError: if the model does not run on the inputs.
    """

    def __init__(
        self,
        model: nn.Module,
        example_inputs: Any = None,
        *,
        sparsity: float | None = None,
        latency_ms: float | None = None,
        criterion: Criterion = Gradient(),  # noqa: B008 (frozen, and shows in the documentation)
        granularity: Granularity = Channel(),  # noqa: B008
        schedule: Schedule = OneShot(epoch=1),  # noqa: B008
        allocation: Allocation = Global(),  # noqa: B008
        of: Of = "parameters",
        backend: Backend = "eager",
        include: Sequence[str] | None = None,
        exclude: Sequence[str] = (),
        batches: Iterable[Any] | None = None,
        loss: Callable[[nn.Module, Any], Tensor] | None = None,
        compensation: Compensation | None = None,
        renew_norms: bool = True,
        allow_unused: bool = False,
    ) -> None:
        check_kind("schedule", schedule, Schedule)
        schedule.refuse_fractions()
        sparsity, of = asked(sparsity, latency_ms, of)
        what = (sparsity, criterion, granularity, allocation, of, include, exclude)
        recipe = Recipe(
            *what, schedule.regrows, allow_unused, latency_ms, backend, compensation, renew_norms
        )
        check_batches("batches", batches)
        check_calibration(compensation, batches)
        check_release(schedule, granularity)
        for alternative in recipe.alternatives:
            check_start(schedule, alternative.criterion)
        if recipe.chooses:
            check_loss(criterion, batches, loss)
        while type(model).__name__ in _WRAPPERS:
            model = model.get_submodule("module")
        recipe.check(model)
        recipe.check_inputs(example_inputs)
        prunable = find_prunable(recipe, model, example_inputs)
        super().__init__(model, recipe, prunable)
        if not allow_unused:
            warn_unused(model, prunable.unused)
        self.schedule = schedule
        self.steps = 0
        self._example_inputs = example_inputs
        self._calibration: Calibration | None = None
        if batches is not None:
            kept = FirstBatches(batches, recipe.samples)
            holds_out = recipe.chooses
            self._calibration = calibration_of(kept, loss, holds_out=holds_out, add_up=add_up)
        self._progress = Progress()
        self._optimizers: list[Optimizer] = []
        self._handles: list[RemovableHandle] = []
        self._accumulated = False
        self._warned = False
        self.scorers.start(only_training=True)

    def attach(self, *optimizers: Optimizer) -> None:
        """Hook into the steps of optimizers: all that step on what is pruned.

        What wraps an optimizer, as Fabric does, is looked through.

        Args:
            optimizers: of the model.

        Raises:
            TypeError: if one is no optimizer.
        """
        for optimizer in optimizers:
            inner = getattr(optimizer, "optimizer", optimizer)
            check_kind("optimizers", inner, Optimizer)
            self._optimizers.append(inner)
            self._handles.append(inner.register_step_pre_hook(self._before_step))
            self._handles.append(inner.register_step_post_hook(self._after_step))

    def step(self, epoch: int | None = None) -> PruningReport | None:
        """Update the masks if the schedule says so; call it before every batch.

        Args:
            epoch: the current epoch, from 0; needed by a schedule in epochs.

        Returns:
            What was reached, ``None`` where nothing was due. An update without finite scores waits
            for the next call, with a warning.

        Raises:
            ValueError: if ``epoch`` is missing.
            PruningError: if the target is out of reach, or the masks of ranks differ.
        """
        position = self.steps if self.schedule.period == "step" else epoch
        if position is None:
            raise ValueError(
                f"Expected `epoch` to be given, as {self.schedule!r} counts epochs, but got None. "
                "Call `step(epoch)` before every batch."
            )
        due = self._progress.next_due(self.schedule, position)
        if due is None:
            return None
        target = self._progress.target(self.schedule, due, self.final)
        if self.removes(target, monotone=self.schedule.monotone) and not self.ready:
            self._warn_waiting(due)
            return None
        report = self.follow(
            target,
            monotone=self.schedule.monotone,
            share=self.schedule.exchange(due),
            optimizers=self._optimizers,
            add_up=add_up,
            calibration=self._calibration if self._recipe.mends(self.schedule, due) else None,
        )
        if not all_agree(self.masks.fingerprint(), next(iter(self.masks.weights.values()))):
            raise PruningError(
                "Expected the same masks on every rank, but got different ones. Ranks must hold "
                "equal weights and reduced gradients when masks are updated."
            )
        self._progress.mark_done(due)
        if not self._progress.is_unfinished(self.schedule):
            self.scorers.stop()
        log.info("%s %d: %s", self.schedule.period, due, report.line(80))
        return report

    @override
    def accumulate(
        self,
        parameters: Iterable[Tensor] | None = None,
        grad_scale: float | Tensor | None = None,
    ) -> None:
        """Look at the gradients of one step, and zero what is masked in them.

        The hooks of `attach` do so when a step begins. Call it yourself before that where
        gradients are clipped first, or within a closure; the hook then does not count them again.

        Args:
            parameters: those whose gradients belong to this step, ``None`` = all.
            grad_scale: what the gradients were multiplied with, ``None`` = nothing.
        """
        if self._progress.is_unfinished(self.schedule):
            super().accumulate(parameters, grad_scale)
        self.masks.apply_to_gradients()
        self._accumulated = True

    def finish(self, example_inputs: Any = None, *, latency: bool = True) -> CompactionReport:
        """Take the hooks away, and remove from the model what is masked: `compact` it, in place.

        Args:
            example_inputs: what ``model(...)`` takes; by default what the pruner was made with.
            latency: also measure the latency before and after.

        Returns:
            What was removed and what it brought.

        Raises:
            VerificationError: if no removal would leave the outputs as they are; the model is then
                exactly as it was.
        """
        self.detach()
        self.masks.apply()
        if self._progress.done < self.schedule.last:
            warnings.warn(
                f"Expected sparsity {self.final} at {self.schedule.period} "
                f"{self.schedule.last}, but got {self.sparsity:.4f} when the training ended. Train "
                "for longer, or end the schedule earlier.",
                stacklevel=2,
            )
        inputs = self._example_inputs if example_inputs is None else example_inputs
        return compact(self._model, inputs, latency=latency, allow_unused=self._recipe.allow_unused)

    def detach(self) -> None:
        """Take the hooks off the optimizers and the model; the masks are kept no longer."""
        for handle in self._handles:
            handle.remove()
        self._handles.clear()
        self._optimizers.clear()
        self.scorers.stop()

    @override
    def state_dict(self) -> dict[str, Any]:
        """Return masks, scores and progress: tensors and primitives; save it with the model."""
        return {
            **super().state_dict(),
            "options": options_of(self._recipe, self.schedule),
            "progress": self._progress.state_dict(),
            "steps": self.steps,
        }

    @override
    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on where `state_dict` was called, with the weights of then already loaded.

        Raises:
            ValueError: if the state is of other groups or other options.
        """
        check_resumable("Pruner", state, options_of(self._recipe, self.schedule))
        super().load_state_dict(state)
        self._progress.load_state_dict(state["progress"])
        self.steps = state["steps"]

    def _before_step(self, optimizer: Optimizer, args: Any, kwargs: Any) -> None:
        """Look at the gradients, unless a closure is still to make them."""
        closure = any(callable(value) for value in (*args[1:], *kwargs.values()))
        if not closure and not self._accumulated:
            self.accumulate(_parameters_of(optimizer), getattr(optimizer, "grad_scale", None))
            self.masks.begin_step(optimizer)

    def _after_step(self, optimizer: Optimizer, args: Any, kwargs: Any) -> None:
        """Zero again what the optimizer has changed."""
        self.masks.end_step(optimizer)
        self.steps += 1
        self._accumulated = False

    def _warn_waiting(self, due: int) -> None:
        """Warn once that an update waits."""
        if not self._warned:
            self._warned = True
            warnings.warn(
                f"Expected finite {self.scorer.evidence.name} other than zero before the update at "
                f"{self.schedule.period} {due}, but got none since the last one. The update waits. "
                "Call `attach(optimizer)` before the training, and check the loss for NaN.",
                stacklevel=3,
            )


def _parameters_of(optimizer: Optimizer) -> list[Tensor]:
    return [parameter for group in optimizer.param_groups for parameter in group["params"]]
