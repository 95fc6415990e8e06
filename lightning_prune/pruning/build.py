"""Build a pruner: find the units of a model and choose those that may go."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import nn

from lightning_prune.allocations import Allocation
from lightning_prune.cost import Of
from lightning_prune.coupling import couple
from lightning_prune.criteria import Criterion
from lightning_prune.granularities import Granularity
from lightning_prune.names import parameters_by_any_name, parameters_by_name
from lightning_prune.pruning.pruner import Pruner
from lightning_prune.pruning.selection import select


def needs_inputs(granularity: Granularity, of: Of) -> bool:
    """Tell whether the units, or what they cost, take a forward pass to find."""
    return granularity.needs_coupling or of == "macs"


def build_pruner(
    model: nn.Module,
    example_inputs: Any,
    *,
    criterion: Criterion,
    granularity: Granularity,
    allocation: Allocation,
    of: Of,
    include: Sequence[str] | None,
    exclude: Sequence[str],
) -> Pruner:
    """Return a pruner over the units of ``model`` that may go.

    Args:
        model: any module.
        example_inputs: what ``model(...)`` takes; not used unless `needs_inputs`.
        criterion: gives every weight a score.
        granularity: what a unit is.
        allocation: how the sparsity is shared among groups.
        of: of what the sparsity is a fraction.
        include: glob patterns of the names of modules to prune; None for all.
        exclude: glob patterns of the names of modules to leave alone.

    Returns:
        The pruner; nothing is pruned yet.

    Raises:
        ExampleInputsError: if the model does not run on the inputs.
        TargetError: if nothing is left to prune.
    """
    coupling = couple(model, example_inputs) if needs_inputs(granularity, of) else None
    groups = granularity.groups(parameters_by_name(model), coupling.groups if coupling else ())
    selection = select(groups, parameters_by_any_name(model), include=include, exclude=exclude)
    return Pruner(
        model,
        selection.groups,
        criterion=criterion,
        allocation=allocation,
        of=of,
        prices=coupling.prices if coupling else None,
        left_alone=selection.left_alone,
    )
