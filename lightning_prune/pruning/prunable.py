"""What of a model can be pruned."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from torch import nn

from lightning_prune.compaction.branches.bypass import zeroable
from lightning_prune.coupling import Coupling, couple
from lightning_prune.measure import count_parameters
from lightning_prune.modules.fake import fake_mode
from lightning_prune.modules.gathering import has_shards, reshard, structure_of
from lightning_prune.modules.inputs import ExampleInputs, examples_of
from lightning_prune.modules.names import parameters_by_any_name, parameters_by_name, plain_name
from lightning_prune.pruning.choosing.selection import select
from lightning_prune.pruning.recipe import Recipe
from lightning_prune.units.group import Group, Structure


@dataclass(frozen=True)
class Prunable:
    """The groups of a model that are to be pruned, and what is known of the rest.

    Args:
        groups: the groups to prune.
        parameters: how many elements all parameters of the model have.
        prices: multiply-adds per element of each weight, ``None`` if nothing was recorded.
        macs: the same of all weights together.
        examples: example inputs, for criteria that need some.
        left_alone: why other groups are not pruned, by name.
        unused: names of the parameters that no example runs.
        coupling: of the model by all examples, ``None`` if nothing was recorded.
    """

    groups: Sequence[Group]
    parameters: int = 0
    prices: Mapping[str, float] | None = None
    macs: float = 0.0
    examples: Sequence[ExampleInputs] = ()
    left_alone: Mapping[str, str] = field(default_factory=dict)
    unused: tuple[str, ...] = ()
    coupling: Coupling | None = None


def find_prunable(
    recipe: Recipe,
    model: nn.Module,
    example_inputs: Any,
    among: Collection[str] | None = None,
    *,
    averaged: Collection[str] = (),
) -> Prunable:
    """Find the groups of ``model`` that a recipe prunes; nothing is pruned yet.

    Args:
        recipe: what to prune.
        model: the module to prune.
        example_inputs: what ``model(...)`` takes; not used unless the recipe needs inputs.
        among: names of the groups that were chosen before, as those of a checkpoint; ``None`` =
            choose now.
        averaged: names of frozen parameters that follow others, as an average does, and are pruned
            with them.

    Returns:
        The groups, and what is known of the rest.

    Raises:
        ValueError: if the model lacks a group that was chosen before.
        ExampleInputsError: if the model does not run on the inputs.
    """
    reshard(model)  # its parameters are looked up below
    coupling = None
    if recipe.granularity.needs_coupling or recipe.of in {"macs", "latency"}:
        unsharded = structure_of(model) if has_shards(model) else model
        coupling = couple(unsharded, example_inputs, allow_unused=recipe.allow_unused)
    weights = parameters_by_name(model)
    groups = recipe.granularity.groups(weights, coupling.structure if coupling else Structure())
    _check_present(groups, among or ())
    never_zero: dict[str, str] = {}
    if coupling is not None and recipe.granularity.whole_groups:
        never_zero = _never_zero(model, coupling)
        groups = [group for group in groups if group.name not in never_zero]
    selection = select(
        groups,
        parameters_by_any_name(model),
        include=recipe.include,
        exclude=recipe.exclude,
        among=among,
        averaged=averaged,
    )
    examples = examples_of(example_inputs) if recipe.needs_inputs else []
    prices, macs = None, 0.0
    if coupling is not None:
        prices, shapes = coupling.prices, coupling.shapes
        # A product with a buffer has a price, too, but is none with a weight.
        macs = sum(prices[name] * shape.numel() for name, shape in shapes.items() if name in prices)
    return Prunable(
        selection.groups,
        parameters=count_parameters(model),
        prices=prices,
        macs=macs,
        examples=[example for example in examples if example.measured],
        left_alone=recipe.granularity.refused(weights)
        | never_zero
        | selection.left_alone
        | (coupling.readable if coupling else {})
        | (coupling.refused if coupling and not groups else {}),
        unused=tuple(coupling.unused) if coupling else (),
        coupling=coupling,
    )


def _never_zero(model: nn.Module, coupling: Coupling) -> dict[str, str]:
    """Return why residual branches that add something even when they are zeroed are left alone."""
    tensors = list(model.parameters())
    if has_shards(model) or fake_mode(tensors) or any(t.is_meta for t in tensors):
        return {}  # there are no numbers to run it on
    reason = "what it adds is not proved to be zero where its weights are"
    found = {branch.name for branch in zeroable(model, coupling.branches)}
    return {branch.name: reason for branch in coupling.branches if branch.name not in found}


def _check_present(groups: Sequence[Group], among: Collection[str]) -> None:
    """Refuse a model without the groups of a checkpoint.

    Raises:
        ValueError: if it lacks one.
    """
    names = {plain_name(group.name) for group in groups}
    missing = [name for name in among if name not in names]
    if missing:
        raise ValueError(
            f"Expected the model to have the groups of the checkpoint, but got none of the name "
            f"{' or '.join(repr(name) for name in missing[:5])}. Resume with the model that the "
            "checkpoint was written from."
        )
