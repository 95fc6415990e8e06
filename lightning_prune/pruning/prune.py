"""Prune any module in one shot, without a Trainer."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from lightning_prune.allocations import Allocation, Global
from lightning_prune.arguments import check_function
from lightning_prune.coupling.unused import warn_unused
from lightning_prune.criteria import Criterion, Gradient
from lightning_prune.criteria.base import Reads
from lightning_prune.granularities import Channel, Granularity
from lightning_prune.modules.twin import twin
from lightning_prune.pruning.pruner import Pruner
from lightning_prune.pruning.recipe import Recipe
from lightning_prune.pruning.report import PruningReport
from lightning_prune.units.cost import Of


def prune(
    model: nn.Module,
    example_inputs: Any = None,
    *,
    sparsity: float,
    criterion: Criterion = Gradient(),  # noqa: B008 (frozen, and shows in the documentation)
    granularity: Granularity = Channel(),  # noqa: B008
    allocation: Allocation = Global(),  # noqa: B008
    of: Of = "parameters",
    include: Sequence[str] | None = None,
    exclude: Sequence[str] = (),
    batches: Iterable[Any] | None = None,
    loss: Callable[[nn.Module, Any], Tensor] | None = None,
    allow_unused: bool = False,
) -> PruningReport:
    """Zero the units of the lowest scores, in place and in one shot.

    Shapes stay; `compact` removes what was zeroed. Criteria that need gradients or activations
    average over ``batches``; the model runs in eval mode then, and neither its gradients nor its
    buffers change.

    Args:
        model: any module.
        example_inputs: what ``model(...)`` takes: a tensor, a tuple of positional arguments, a
            dict of keyword arguments or a `Call` of another method, or a list of such examples.
            Single weights need none, unless ``of="macs"``.
        sparsity: fraction to remove, in [0, 1), of what ``of`` says, counted over what is
            prunable.
        criterion: gives every weight a score; the **lowest** are removed.
        granularity: what a unit is.
        allocation: how the sparsity is shared among groups.
        of: ``"parameters"``, ``"macs"`` or ``"units"``.
        include: glob patterns of the names of modules to prune; None for all.
        exclude: glob patterns of the names of modules to leave alone.
        batches: data for criteria that read gradients or activations.
        loss: ``loss(model, batch)`` returns the scalar whose gradients count.
        allow_unused: also prune units that a parameter which no example runs might read.

    Returns:
        What was reached, and what was left alone.

    Raises:
        ValueError: if an argument is out of range, a pattern names no module, or ``batches`` and
            ``loss`` are missing.
        TypeError: if an argument is of another type.
        TargetError: if nothing can be pruned, or not as much as was asked for.

    Examples:
        >>> from lightning_prune import Magnitude
        >>> model = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2))
        >>> x = torch.randn(1, 4)
        >>> report = prune(model, x, sparsity=0.5, criterion=Magnitude())
        >>> [(group.name, group.kept, group.units) for group in report.groups]
        [('0', 4, 8)]
    """
    recipe = Recipe(
        sparsity,
        criterion,
        granularity,
        allocation,
        of,
        include,
        exclude,
        allow_unused=allow_unused,
    )
    recipe.check(model)
    return gather_scores(recipe, model, example_inputs, batches, loss).update(sparsity)


def gather_scores(
    recipe: Recipe,
    model: nn.Module,
    example_inputs: Any,
    batches: Iterable[Any] | None,
    loss: Callable[[nn.Module, Any], Tensor] | None,
) -> Pruner:
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
        ValueError: if the inputs, or the data for the criterion, are missing.
        TargetError: if nothing can be pruned, or not as much as was asked for.
    """
    criterion = recipe.criterion
    _check_data(criterion, batches, loss)
    if recipe.needs_inputs and example_inputs is None:
        raise ValueError(
            f"Expected `example_inputs` to be given for {recipe.granularity}, {criterion} and "
            f"of={recipe.of!r}, but got None. Pass what you would pass to `model(...)`."
        )
    # On a twin, gradients and batch statistics of the user's model stay as they are.
    scored = twin(model).eval()
    pruner = recipe.pruner(scored, example_inputs)
    if not recipe.allow_unused:
        warn_unused(pruner.unused, dict(scored.named_parameters()))
    pruner.scorer.start(only_training=False)
    if batches is not None and loss is not None and criterion.averaged:
        for batch in batches:
            scored.zero_grad()
            with torch.set_grad_enabled(criterion.reads != "activations"):
                value = loss(scored, batch)
                if criterion.reads != "activations":
                    _backward(value, scored, criterion.reads)
            pruner.accumulate()
    return pruner


def _backward(value: Tensor, model: nn.Module, reads: Reads) -> None:
    """Leave in ``.grad`` the gradient of the loss, or the product of its Hessian with that.

    Raises:
        ValueError: if the loss has no gradient.
    """
    if not isinstance(value, Tensor) or value.numel() != 1 or not value.requires_grad:
        raise ValueError(
            f"Expected `loss` to return a scalar tensor with a gradient, but got {value!r}. Return "
            "the mean over the batch, without `item()` and outside of `torch.no_grad()`."
        )
    if reads == "gradients":
        value.backward()
        return
    parameters = [p for p in model.parameters() if p.requires_grad]
    found = torch.autograd.grad(value, parameters, create_graph=True, allow_unused=True)
    gradients = [g for g in found if g is not None]
    # Half of the derivative of the squared norm is H g; a loss that is linear has none.
    norm = torch.stack([g.square().sum() for g in gradients]).sum() / 2.0
    if norm.requires_grad:
        norm.backward()


def _check_data(
    criterion: Criterion, batches: Iterable[Any] | None, loss: Callable[..., Tensor] | None
) -> None:
    """Refuse a criterion without the data that it needs.

    Raises:
        ValueError: if it has none.
        TypeError: if these are no iterable and no function.
    """
    if loss is not None:
        check_function("loss", loss, "loss(model, batch)")
    if batches is not None and not isinstance(batches, Iterable):
        raise TypeError(
            f"Expected `batches` to be an iterable, but got {batches!r}. A data loader is one."
        )
    if criterion.averaged and (batches is None or loss is None):
        missing = " and ".join(n for n, v in (("batches", batches), ("loss", loss)) if v is None)
        raise ValueError(
            f"Expected `batches` and `loss` to be given for {criterion}, but got None for {missing}"
            ". Pass an iterable and a function loss(model, batch) -> scalar, or choose a criterion "
            "that reads weights only, such as Magnitude()."
        )
