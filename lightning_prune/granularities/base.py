"""What a granularity is: what a unit is.

A granularity lists every group of units that could be removed, and says what must hold for units
that are removed together. Which groups may be pruned is decided elsewhere
(`lightning_prune.pruning.choosing.selection`).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, get_args

from torch import Tensor

from lightning_prune.arguments import check_choice, check_integer
from lightning_prune.units.group import Group, Structure
from lightning_prune.units.scores import Normalize, Reduce


@dataclass(frozen=True)
class UnitRules:
    """How scores of weights become scores of units, and how many units of a group may be kept.

    Args:
        reduce: how the scores of the weights of a unit become one.
        normalize: by what the scores of a group are divided, so that groups compare.
        round_to: the number of kept units is a multiple of this, unless the group is untouched.
        min_units: no group keeps fewer.

    Raises:
        ValueError: if an argument is none of its words, or less than 1.
    """

    reduce: Reduce = "sum"
    normalize: Normalize = "mean"
    round_to: int = 1
    min_units: int = 1

    def __post_init__(self) -> None:
        cure = "It says how the scores of the weights of a unit become one."
        check_choice("reduce", self.reduce, get_args(Reduce), cure)
        cure = "It says by what the scores of a group are divided."
        check_choice("normalize", self.normalize, get_args(Normalize), cure)
        check_integer("round_to", self.round_to, 1, "It counts units.")
        check_integer("min_units", self.min_units, 1, "It counts units.")


class Granularity(ABC):
    """What a unit is.

    Attributes:
        needs_coupling: the units follow from the coupling of the model's axes, for which example
            inputs are needed.
        regrows: a removed unit gets a gradient, by which it could grow again.
        whole_groups: every group is one unit, and may be removed.
        absent: what is missing where a model has no such units, and a sentence on what to do; empty
            for units that every model has.
        rules: what holds for scores and counts of units.
    """

    needs_coupling: ClassVar[bool]
    regrows: ClassVar[bool] = False
    whole_groups: ClassVar[bool] = False
    absent: ClassVar[str] = ""

    @abstractmethod
    def groups(self, weights: Mapping[str, Tensor], structure: Structure) -> list[Group]:
        """Return every group of such units.

        Args:
            weights: every parameter, by name, frozen ones too.
            structure: the coupled axes and the branches of the model; empty if not needed.

        Returns:
            The groups, in a stable order.
        """

    @property
    def rules(self) -> UnitRules:
        """What holds for scores and counts of units."""
        return UnitRules()

    def refused(self, weights: Mapping[str, Tensor]) -> dict[str, str]:
        """Return why parameters that could have had such units have none, by name.

        Args:
            weights: every parameter, by name.

        Returns:
            Reasons; empty where none is left out.
        """
        return {}

    def floor(self, group: Group) -> int:
        """Return how many units a group keeps at least, in [0, units]; 0 if all may be removed."""
        rules = self.rules
        if group.units < rules.round_to:
            return group.units
        least = -(-max(1, rules.min_units) // rules.round_to) * rules.round_to
        return min(group.units, least)

    def protected(self, group: Group, scores: Tensor) -> Tensor | None:
        """Return which units must stay because of the scores of others.

        Args:
            group: the units.
            scores: their scores, shape ``[units]``; -inf where a unit is removed already.

        Returns:
            Boolean, shape ``[units]``; ``None`` where no unit depends on another.
        """
        return None
