"""A recipe: what to prune and by which scores; the schedule, which says when, is no part of it.

`Pruning` and `prune` take the same options; they are checked, and made into a pruner, here.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any, get_args

from torch import nn

from lightning_prune.allocations import Allocation
from lightning_prune.arguments import (
    check_choice,
    check_flags,
    check_kind,
    check_list,
    check_model,
    check_sparsity,
)
from lightning_prune.coupling import couple
from lightning_prune.criteria import Criterion
from lightning_prune.errors import TargetError
from lightning_prune.granularities import Granularity
from lightning_prune.modules.gathering import has_shards, reshard, structure_of
from lightning_prune.modules.inputs import examples_of
from lightning_prune.modules.names import parameters_by_any_name, parameters_by_name, plain_name
from lightning_prune.modules.patterns import check_patterns
from lightning_prune.pruning.checks import check_groups, check_regrows
from lightning_prune.pruning.choosing.selection import select
from lightning_prune.pruning.pruner import Pruner
from lightning_prune.units.cost import Of
from lightning_prune.units.group import Group, Structure


@dataclass(frozen=True)
class Recipe:
    """What to prune.

    Args:
        sparsity: final fraction removed, in [0, 1).
        criterion: gives every weight a score.
        granularity: what a unit is.
        allocation: how the sparsity is shared among groups.
        of: of what the sparsity is a fraction, counted over what is prunable.
        include: glob patterns of the names of modules to prune; None for all.
        exclude: glob patterns of the names of modules to leave alone.
        regrows: removed units may grow again.
        allow_unused: also prune units that a parameter which no example runs might read.

    Raises:
        ValueError: if ``sparsity`` is outside its range, or ``of`` is none of its words.
        TypeError: if an argument is of another type, a class or a name instead of an object, say.
    """

    sparsity: float
    criterion: Criterion
    granularity: Granularity
    allocation: Allocation
    of: Of
    include: Sequence[str] | None
    exclude: Sequence[str]
    regrows: bool = False
    allow_unused: bool = False

    def __post_init__(self) -> None:
        check_sparsity(self.sparsity)
        check_kind("criterion", self.criterion, Criterion)
        check_kind("granularity", self.granularity, Granularity)
        check_kind("allocation", self.allocation, Allocation)
        check_choice("of", self.of, get_args(Of), "It says what the sparsity is a fraction of.")
        check_groups(self.granularity, self.criterion, self.allocation)
        if self.regrows:
            check_regrows(self.granularity)
        check_list("include", () if self.include is None else self.include)
        check_list("exclude", self.exclude)
        check_flags(allow_unused=self.allow_unused)
        # A float of NumPy's prints in another way, by which a checkpoint would be refused.
        object.__setattr__(self, "sparsity", float(self.sparsity))

    @property
    def needs_inputs(self) -> bool:
        """Whether the units, what they cost or their scores take a forward pass to find."""
        return (
            self.granularity.needs_coupling or self.of == "macs" or self.criterion.reads == "flow"
        )

    def check(self, model: nn.Module) -> None:
        """Refuse patterns that name no module, and a model without a trainable parameter.

        Args:
            model: the module to prune.

        Raises:
            ValueError: if a pattern names no module.
            TypeError: if ``model`` is no module.
            TargetError: if every parameter is frozen.
        """
        check_model(model)
        names = [plain_name(name) for name, module in model.named_modules()]
        check_patterns("include", self.include or (), names)
        check_patterns("exclude", self.exclude, names)
        if not any(parameter.requires_grad for parameter in model.parameters()):
            raise TargetError(
                f"Expected `{type(model).__name__}` to have trainable parameters, but got none. "
                "Unfreeze what should be pruned (`requires_grad_(True)`)."
            )

    def pruner(
        self,
        model: nn.Module,
        example_inputs: Any,
        among: Collection[str] | None = None,
        *,
        averaged: Collection[str] = (),
    ) -> Pruner:
        """Return a pruner over the prunable units of ``model``; nothing is pruned yet.

        Args:
            model: the module to prune.
            example_inputs: what ``model(...)`` takes; not used unless `needs_inputs`.
            among: names of the groups that were chosen before, as those of a checkpoint; ``None``
                = choose now.
            averaged: names of frozen parameters that follow others, as an average does, and are
                pruned with them.

        Returns:
            The pruner.

        Raises:
            ValueError: if the model lacks a group that was chosen before.
            ExampleInputsError: if the model does not run on the inputs.
            TargetError: if nothing is left to prune, or not as much as was asked for.
        """
        counts = self.granularity.needs_coupling or self.of == "macs"
        reshard(model)  # its parameters are looked up below
        unsharded = structure_of(model) if has_shards(model) else model
        coupling = (
            couple(unsharded, example_inputs, allow_unused=self.allow_unused) if counts else None
        )
        weights = parameters_by_name(model)
        groups = self.granularity.groups(weights, coupling.structure if coupling else Structure())
        _check_present(groups, among or ())
        selection = select(
            groups,
            parameters_by_any_name(model),
            include=self.include,
            exclude=self.exclude,
            among=among,
            averaged=averaged,
        )
        examples = examples_of(example_inputs) if self.needs_inputs else []
        pruner = Pruner(
            model,
            selection.groups,
            criterion=self.criterion,
            allocation=self.allocation,
            granularity=self.granularity,
            of=self.of,
            prices=coupling.prices if coupling else None,
            examples=[example for example in examples if example.measured],
            left_alone=self.granularity.refused(weights)
            | selection.left_alone
            | (coupling.readable if coupling else {}),
            unused=coupling.unused if coupling else (),
            regrows=self.regrows,
        )
        pruner.check_reachable(self.sparsity)
        return pruner


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
