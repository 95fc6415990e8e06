"""Prune any module in one shot, without a Trainer."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import Any

from torch import Tensor, nn

from lightning_prune.allocations import Allocation, Global
from lightning_prune.arguments import check_function, check_model
from lightning_prune.compensations import Compensation
from lightning_prune.coupling.unused import warn_unused
from lightning_prune.criteria import Criterion, Gradient, Magnitude
from lightning_prune.granularities import Channel, Granularity
from lightning_prune.measure import count_macs
from lightning_prune.measure.backend import Backend
from lightning_prune.modules.numbers import require_numbers
from lightning_prune.modules.twin import clone, twin
from lightning_prune.pruning.base_pruner import BasePruner
from lightning_prune.pruning.checks import (
    check_batches,
    check_calibration,
    check_loss,
    check_weights,
)
from lightning_prune.pruning.compensating.batches import FirstBatches, calibration_of
from lightning_prune.pruning.prunable import find_prunable
from lightning_prune.pruning.recipe import Recipe, asked
from lightning_prune.pruning.report import PruningReport
from lightning_prune.units.cost import Of


def prune(
    model: nn.Module,
    example_inputs: Any = None,
    *,
    sparsity: float | None = None,
    latency_ms: float | None = None,
    criterion: Criterion = Gradient(),  # noqa: B008 (frozen, and shows in the documentation)
    granularity: Granularity = Channel(),  # noqa: B008
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
) -> PruningReport:
    """Zero the units of the lowest scores, in place and in one shot.

    Shapes stay; `compact` removes what was zeroed. Criteria that need gradients or activations
    average over ``batches``; the model runs in eval mode then, and its gradients stay. Of its
    buffers nothing changes but the statistics of batch norms, which are renewed at the end.

    Args:
        model: any module.
        example_inputs: what ``model(...)`` takes: a tensor, a tuple of positional arguments, a
            dict of keyword arguments or a `Call` of another method, or a list of such examples.
            Single weights need none, unless ``of="macs"``.
        sparsity: fraction to remove, in [0, 1), of what ``of`` says, counted over what is
            prunable.
        latency_ms: in place of a sparsity, the p50 that the compact model is to have, in ms.
        criterion: gives every weight a score; the **lowest** are removed.
        granularity: what a unit is.
        allocation: how the sparsity is shared among groups.
        of: ``"parameters"``, ``"macs"``, ``"units"`` or ``"latency"``: the milliseconds of a
            forward pass of the first example, on its device with the CPU threads that torch uses.
            They are measured, on unverified compact copies, until asked and measured agree; on
            one thread that is the time at work, which other processes do not lengthen.
        backend: what runs the model for that: ``"eager"``, ``"compile"``, ``"cuda_graph"``,
            ``"onnxruntime"``, ``"openvino"`` or ``"executorch"``.
        include: glob patterns of the names of modules to prune; None for all.
        exclude: glob patterns of the names of modules to leave alone.
        batches: data for criteria that read gradients or activations, for compensation, for norms
            and for `Auto`. Without a ``loss`` a batch is what ``model(...)`` takes.
        loss: ``loss(model, batch)`` returns the scalar whose gradients count.
        compensation: afterwards, fit the weights that read removed units so that they return what
            they did; None for not.
        renew_norms: afterwards, estimate the statistics of batch norms anew, if there are
            ``batches``.
        allow_unused: also prune units that a parameter which no example runs might read.

    Returns:
        What was reached, and what was left alone.

    Raises:
        ValueError: if an argument is out of range, a pattern names no module, or ``batches`` and
            ``loss`` are missing.
        TypeError: if an argument is of another type.
        TargetError: if nothing can be pruned, or not as much as was asked for.

    Examples:
        >>> import torch
        >>> from lightning_prune import Magnitude
        >>> model = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2))
        >>> x = torch.randn(1, 4)
        >>> report = prune(model, x, sparsity=0.5, criterion=Magnitude())
        >>> [(group.name, group.kept, group.units) for group in report.groups]
        [('0', 4, 8)]
    """
    sparsity, of = asked(sparsity, latency_ms, of)
    recipe = Recipe(
        sparsity,
        criterion,
        granularity,
        allocation,
        of,
        include,
        exclude,
        allow_unused=allow_unused,
        latency_ms=latency_ms,
        backend=backend,
        compensation=compensation,
        renew_norms=renew_norms,
    )
    recipe.check(model)
    check_calibration(compensation, batches)
    if recipe.chooses:
        check_loss(criterion, batches, loss)
    kept = FirstBatches(batches, recipe.samples) if isinstance(batches, Iterable) else None
    pruner = gather_scores(recipe, model, example_inputs, kept or batches, loss)
    calibration = None
    if kept is not None:
        calibration = calibration_of(kept, loss, holds_out=recipe.chooses)
    report = pruner.update(pruner.final, calibration=calibration)
    pruner.copy_buffers(model)  # it shares the weights of what was scored, but no buffers
    return report


def plan(
    model: nn.Module,
    example_inputs: Any = None,
    *,
    sparsity: float | None = None,
    latency_ms: float | None = None,
    criterion: Criterion = Magnitude(),  # noqa: B008
    granularity: Granularity = Channel(),  # noqa: B008
    allocation: Allocation = Global(),  # noqa: B008
    of: Of = "parameters",
    backend: Backend = "eager",
    include: Sequence[str] | None = None,
    exclude: Sequence[str] = (),
    batches: Iterable[Any] | None = None,
    loss: Callable[[nn.Module, Any], Tensor] | None = None,
    allow_unused: bool = False,
) -> PruningReport:
    """Return what `prune` would remove, and what `compact` would leave; nothing changes.

    The arguments are those of `prune`, on a copy of the model. The criterion is `Magnitude` by
    default, which takes no data.

    Returns:
        What would be reached, per group, with the parameters and MACs that would be left. MACs
        are taken to shrink as those with weights do: of products of two activations, as in
        attention, that is an estimate.

    Raises:
        ValueError: if an argument is out of range, a pattern names no module, or ``batches`` and
            ``loss`` are missing.
        TypeError: if an argument is of another type.
        TargetError: if nothing can be pruned, or not as much as was asked for.

    Examples:
        >>> import torch
        >>> model = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2))
        >>> print(plan(model, torch.randn(1, 4), sparsity=0.5))
        sparsity 0.5000 of parameters (target 0.5000)
        group  units  kept  removed
        -----  -----  ----  -------
            0      8     4    50.0%
        compaction leaves 30 of 58 parameters (51.7%) and 24 of 48 MACs (50.0%)
    """
    check_model(model)
    report = prune(
        clone(model),
        example_inputs,
        sparsity=sparsity,
        latency_ms=latency_ms,
        criterion=criterion,
        granularity=granularity,
        allocation=allocation,
        of=of,
        backend=backend,
        include=include,
        exclude=exclude,
        batches=batches,
        loss=loss,
        allow_unused=allow_unused,
    )
    macs = None if example_inputs is None else count_macs(model, example_inputs)
    return replace(report, macs_before=macs)


def gather_scores(
    recipe: Recipe,
    model: nn.Module,
    example_inputs: Any,
    batches: Iterable[Any] | None,
    loss: Callable[[nn.Module, Any], Tensor] | None,
) -> BasePruner:
    """Return a pruner that has seen the data which its criterion needs; nothing is pruned yet.

    Args:
        recipe: what to prune.
        model: any module.
        example_inputs: what ``model(...)`` takes.
        batches: data for criteria that read gradients or activations.
        loss: ``loss(model, batch)`` returns the scalar whose gradients count.

    Returns:
        A pruner of the model's parameters, on modules of its own.

    Raises:
        ValueError: if the inputs, or the data for the criterion, are missing, or if a parameter
            that would be masked cannot be written to.
        TargetError: if nothing can be pruned, or not as much as was asked for.
    """
    require_numbers(model)
    if loss is not None:
        check_function("loss", loss, "loss(model, batch)")
    if batches is not None:
        check_batches("batches", batches)
    for alternative in recipe.alternatives:
        if alternative.criterion.averaged:
            check_loss(alternative.criterion, batches, loss)
    recipe.check_inputs(example_inputs)
    # On a twin, gradients and batch statistics of the user's model stay as they are.
    scored = twin(model).eval()
    pruner = BasePruner(scored, recipe, find_prunable(recipe, scored, example_inputs))
    check_weights(model, pruner.masks.weights)
    if not recipe.allow_unused:
        warn_unused(model, pruner.unused)
    pruner.scorers.start(only_training=False)
    if batches is not None and loss is not None and pruner.scorers.needs_data:
        for batch in batches:
            pruner.scorers.gather(loss, batch)
    pruner.scorers.stop()
    return pruner
