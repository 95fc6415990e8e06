"""Compare candidates on any module, without a Trainer: which one costs the least?"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from torch import Tensor, nn

from lightning_prune.allocations import Allocation, Global
from lightning_prune.arguments import check_flags, check_function, check_model
from lightning_prune.compensations import Compensation
from lightning_prune.criteria import Criterion
from lightning_prune.granularities import Channel, Granularity
from lightning_prune.modules.twin import clone
from lightning_prune.pruning.checks import check_batches, check_calibration
from lightning_prune.pruning.comparing.auto import Auto, Candidate
from lightning_prune.pruning.comparing.comparison import Comparison
from lightning_prune.pruning.comparing.judge import Judge, average_loss
from lightning_prune.pruning.compensating.batches import FirstBatches, held_out_of, runs_on
from lightning_prune.pruning.compensating.mending import Calibration
from lightning_prune.pruning.prune import gather_scores
from lightning_prune.pruning.recipe import Recipe
from lightning_prune.pruning.sensitivity import number_of
from lightning_prune.units.cost import Of


def compare(
    model: nn.Module,
    example_inputs: Any = None,
    candidates: Sequence[Criterion | Candidate] = (),
    *,
    sparsity: float,
    granularity: Granularity = Channel(),  # noqa: B008 (frozen, and shows in the documentation)
    allocation: Allocation = Global(),  # noqa: B008
    of: Of = "parameters",
    include: Sequence[str] | None = None,
    exclude: Sequence[str] = (),
    batches: Iterable[Any] | None = None,
    loss: Callable[[nn.Module, Any], Tensor] | None = None,
    held_out: Iterable[Any] | None = None,
    metric: Callable[[nn.Module], float] | None = None,
    higher_is_better: bool = True,
    compensation: Compensation | None = None,
    renew_norms: bool = True,
    seconds: float | None = None,
    allow_unused: bool = False,
) -> Comparison:
    """Prune a copy of a model by each candidate, mend it, and measure it; the model stays.

    The arguments are those of `prune`, but for these:

    Args:
        model: any module.
        example_inputs: as in `prune`.
        candidates: criteria, or each with an allocation as a `Candidate`.
        sparsity: fraction to remove, in [0, 1), of what ``of`` says.
        granularity: what a unit is.
        allocation: of the candidates that have none.
        of: ``"parameters"``, ``"macs"`` or ``"units"``.
        include: glob patterns of the names of modules to prune; None for all.
        exclude: glob patterns of the names of modules to leave alone.
        batches: data for criteria, for compensation and for norms.
        loss: ``loss(model, batch)`` returns a scalar, an average over the examples.
        held_out: batches, all of which measure: the loss is averaged over their examples.
        metric: in place of those, ``metric(model)`` returns a number; the model is in eval mode.
        higher_is_better: of the metric.
        compensation: fit what reads removed units before measuring; None for not.
        renew_norms: estimate the statistics of batch norms anew, if there are ``batches``.
        seconds: once they are over, no further candidate is tried; None for no limit. The first
            one always is.
        allow_unused: as in `prune`.

    Returns:
        What was measured for each candidate.

    Raises:
        ValueError: if an argument is out of range, or data are missing.
        TypeError: if an argument is of another type.
        TargetError: if nothing can be pruned, or not as much as was asked for.

    Examples:
        >>> import torch
        >>> from lightning_prune import Magnitude, Random
        >>> _ = torch.manual_seed(0)
        >>> model = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2))
        >>> with torch.no_grad():
        ...     _ = model[0].weight[:4].mul_(0.01)
        >>> x = torch.randn(64, 4)
        >>> y = model(x).detach()
        >>> compared = compare(
        ...     model,
        ...     x,
        ...     [Random(), Magnitude()],
        ...     sparsity=0.5,
        ...     loss=lambda model, batch: (model(batch[0]) - batch[1]).square().mean(),
        ...     held_out=[(x, y)],
        ... )
        >>> compared.best.criterion
        Magnitude(p=1)
    """
    check_model(model)
    check_flags(higher_is_better=higher_is_better)
    recipe = Recipe(
        sparsity,
        Auto(candidates, seconds),
        granularity,
        allocation,
        of,
        include,
        exclude,
        allow_unused=allow_unused,
        compensation=compensation,
        renew_norms=renew_norms,
    )
    recipe.check(model)
    check_calibration(compensation, batches)
    judge = _judge(held_out, loss, metric, higher_is_better=higher_is_better)
    samples = recipe.samples // 2  # nothing of the batches is held out
    kept = FirstBatches(batches, samples) if isinstance(batches, Iterable) else None
    pruner = gather_scores(recipe, clone(model), example_inputs, kept or batches, loss)
    calibration = Calibration(lambda: runs_on(kept.first if kept else [], loss), judge=judge)
    return pruner.compare(sparsity, calibration)


def _judge(
    held_out: Iterable[Any] | None,
    loss: Callable[[nn.Module, Any], Tensor] | None,
    metric: Callable[[nn.Module], float] | None,
    *,
    higher_is_better: bool,
) -> Judge:
    """Return what measures.

    Raises:
        ValueError: if there are no data and no metric, or both.
        TypeError: if one is of another type.
    """
    if metric is not None:
        check_function("metric", metric, "metric(model)")
        if held_out is None:
            return Judge(lambda model: number_of(metric(model)), "metric", higher_is_better)
    if held_out is None or metric is not None:
        got = "none" if metric is None else "both"
        raise ValueError(
            f"Expected either `held_out` or `metric` to be given, but got {got}. Pass batches that "
            "`loss` takes, or a function metric(model) -> float."
        )
    check_batches("held_out", held_out)
    if loss is None:
        raise ValueError(
            "Expected `loss` to be given for `held_out`, but got None. Pass a function "
            "loss(model, batch) -> scalar."
        )
    check_function("loss", loss, "loss(model, batch)")
    batches = held_out_of(list(held_out), loss, "held_out")
    return Judge(lambda model: average_loss(model, batches))
