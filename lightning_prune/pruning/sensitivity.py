"""Sensitivity analysis: how a metric changes when one group alone is pruned.

It works on a copy of the weights; the user's model is left as it is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from tqdm import tqdm

from lightning_prune.allocations import Global
from lightning_prune.allocations.sensitivity import Sensitivity
from lightning_prune.arguments import check_flags, check_function, check_sparsity, check_writable
from lightning_prune.criteria import Criterion, Magnitude
from lightning_prune.granularities import Channel, Granularity
from lightning_prune.modules.names import tensors_by_any_name
from lightning_prune.modules.twin import clone
from lightning_prune.pruning.choosing.ranking import floors
from lightning_prune.pruning.comparing.auto import refuse_auto
from lightning_prune.pruning.prune import gather_scores
from lightning_prune.pruning.recipe import Recipe
from lightning_prune.units.group import Group
from lightning_prune.units.masks import keep_highest, parameter_masks


def sensitivity(
    model: nn.Module,
    data: Any,
    metric: Callable[[nn.Module, Any], float],
    *,
    example_inputs: Any = None,
    criterion: Criterion = Magnitude(),  # noqa: B008 (frozen, and shows in the documentation)
    granularity: Granularity = Channel(),  # noqa: B008
    sparsities: Sequence[float] = (0.1, 0.3, 0.5, 0.7, 0.9),
    include: Sequence[str] | None = None,
    exclude: Sequence[str] = (),
    batches: Iterable[Any] | None = None,
    loss: Callable[[nn.Module, Any], Tensor] | None = None,
    path: str | Path | None = None,
    progress: bool = True,
    allow_unused: bool = False,
) -> Sensitivity:
    """Measure a metric with each group pruned alone, at several sparsities.

    Args:
        model: any module; it runs in eval mode and is left as it is.
        data: what the metric takes.
        metric: ``metric(model, data)`` returns a number.
        example_inputs: what ``model(...)`` takes; single weights need none.
        criterion: gives the scores; the units of the lowest are removed.
        granularity: what a unit is.
        sparsities: fractions of a group's units to remove, each in [0, 1). Groups of a single
            unit, such as those of `Layer`, are measured once, without it: at 1.
        include: glob patterns of the names of modules to look at; None for all.
        exclude: glob patterns of the names of modules to leave out.
        batches: data for criteria that read gradients or activations.
        loss: ``loss(model, batch)`` returns the scalar whose gradients count.
        path: a JSON file that is written after every group; where it exists, the measurement
            continues with it.
        progress: show a progress bar.
        allow_unused: as in `prune`.

    Returns:
        The metric of the dense model, and of every group at every sparsity.

    Raises:
        ValueError: if an argument is out of range, or data for the criterion are missing.
        TypeError: if an argument is of another type, or the metric returns no number.
        TargetError: if nothing can be pruned.

    Examples:
        >>> from lightning_prune import sensitivity
        >>> model = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2))
        >>> x = torch.randn(16, 4)
        >>> report = sensitivity(
        ...     model,
        ...     x,
        ...     lambda model, x: -float(model(x).square().mean()),
        ...     example_inputs=x,
        ...     sparsities=[0.25, 0.5],
        ...     progress=False,
        ... )
        >>> list(report.curves), [sorted(curve) for curve in report.curves.values()]
        (['0'], [[0.25, 0.5]])
    """
    check_function("metric", metric, "metric(model, data)")
    check_flags(progress=progress)
    _check_sparsities(sparsities)
    if path is not None:
        check_writable(path)
    recipe = Recipe(
        0.0,
        criterion,
        granularity,
        Global(),
        "units",
        include,
        exclude,
        allow_unused=allow_unused,
    )
    recipe.check(model)
    refuse_auto(criterion, "a sensitivity analysis")
    pruner = gather_scores(recipe, model, example_inputs, batches, loss)
    changed = clone(model).eval()
    known = Sensitivity.load(path) if path is not None and Path(path).exists() else None
    with torch.no_grad():
        reference = number_of(metric(changed, data)) if known is None else known.reference
    curves = {} if known is None else {name: dict(curve) for name, curve in known.curves.items()}
    scores = pruner.scorer.scores()
    least = floors(pruner.masks.groups, granularity, Global())
    triples = list(zip(pruner.masks.groups, scores, least, strict=True))
    levels = [1.0] if granularity.whole_groups else sparsities
    for group, score, floor in tqdm(triples, desc="sensitivity", disable=not progress):
        curve = curves.setdefault(group.name, {})
        for sparsity in levels:
            if sparsity not in curve:
                remove = min(round(sparsity * group.units), group.units - floor)
                (unit_mask,) = keep_highest([score], remove)
                curve[sparsity] = _measure(changed, group, unit_mask, metric, data)
        if path is not None:
            Sensitivity(reference, curves).save(path)
    return Sensitivity(reference, curves)


@torch.no_grad()
def _measure(
    model: nn.Module,
    group: Group,
    unit_mask: Tensor,
    metric: Callable[[nn.Module, Any], float],
    data: Any,
) -> float:
    """Return the metric with units of one group zeroed, and put the weights back."""
    tensors = tensors_by_any_name(model)
    shapes = {name: tensor.shape for name, tensor in tensors.items()}
    device = next(iter(tensors.values())).device
    masks = parameter_masks([group], [unit_mask], shapes, device)
    before = {name: tensors[name].clone() for name in masks}
    try:
        for name, mask in masks.items():
            tensors[name].mul_(mask.whole())
        return number_of(metric(model, data))
    finally:
        for name, value in before.items():
            tensors[name].copy_(value)


def _check_sparsities(sparsities: object) -> None:
    """Refuse what is no list of sparsities.

    Raises:
        ValueError: if it is empty, or one is out of range.
        TypeError: if it is no list of numbers.
    """
    if isinstance(sparsities, str) or not isinstance(sparsities, Sequence) or not sparsities:
        error = ValueError if isinstance(sparsities, Sequence) else TypeError
        raise error(
            f"Expected `sparsities` to be a list of fractions, but got {sparsities!r}. "
            "Each is a share of the units of a group, such as [0.3, 0.5]."
        )
    for sparsity in sparsities:
        check_sparsity(sparsity, "sparsities")


def number_of(value: Any) -> float:
    """Return what a metric has returned.

    Raises:
        TypeError: if it is no number.
    """
    try:
        return float(value)
    except (TypeError, ValueError, RuntimeError) as error:
        raise TypeError(
            f"Expected `metric` to return a number, but got {value!r}. Return a mean over the data."
        ) from error
