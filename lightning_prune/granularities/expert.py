"""Experts of mixtures."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor
from typing_extensions import override

from lightning_prune.granularities.base import Granularity, UnitRules
from lightning_prune.units.group import Group, Structure
from lightning_prune.units.scores import Normalize, Reduce


@dataclass(frozen=True)
class Expert(Granularity):
    """A unit is an expert of a mixture.

    That is its rows of all stacked weights that data pick together, or a module in a list of
    modules of one form, which is given rows that data picked, or is multiplied by what was computed
    from the input.

    A removed expert gives zeros. The router is left as it is: it may still choose the expert, which
    then takes its share of the weights and gives nothing for it. Train after pruning, so that the
    router learns the difference. Compaction removes an expert's rows of stacked weights, and all
    but one hidden unit of a module. The router keeps its outputs, for without one of them the
    softmax over the others would be another one. A grouped product leaves out what is sent to
    removed experts; `count_macs` counts it all the same, for data say how much that is.

    Lu et al., 2024, "Not All Experts are Equal", arXiv:2402.14800.

    Args:
        reduce: how the scores of all weights of an expert become one: ``"sum"``, ``"mean"``,
            ``"max"`` or ``"l2"``.
        normalize: by what the scores of a group are divided, so that groups compare: the ``"mean"``
            or the ``"max"``, in which removed experts count as zero, or ``"none"``.
        min_units: keep at least this many experts of every mixture.

    Raises:
        ValueError: if an option is none of its words, or less than 1.
    """

    reduce: Reduce = "sum"
    normalize: Normalize = "mean"
    min_units: int = 1

    needs_coupling: ClassVar[bool] = True
    absent: ClassVar[str] = (
        "no mixture whose experts could go: stacked weights of which data pick rows, or modules of "
        "one form in a list among which data choose. Use Channel(), which removes parts of any "
        "layer."
    )

    def __post_init__(self) -> None:
        _ = self.rules  # which checks them

    @property
    @override
    def rules(self) -> UnitRules:
        """The options."""
        return UnitRules(self.reduce, self.normalize, min_units=self.min_units)

    @override
    def groups(self, weights: Mapping[str, Tensor], structure: Structure) -> list[Group]:
        """Return the mixtures."""
        return list(structure.mixtures)
