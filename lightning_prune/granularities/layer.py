"""Layers: whole residual branches."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor
from typing_extensions import override

from lightning_prune.granularities.base import Granularity, UnitRules
from lightning_prune.units.group import Group, Structure


@dataclass(frozen=True)
class Layer(Granularity):
    """A unit is a residual branch: in ``y = x + f(x)``, all of ``f``.

    Examples are the blocks of a ResNet, and the attention and the perceptron of a transformer's
    layer. Without the branch ``y = x``; compaction takes it out of the code, so that the model gets
    shallower. A shortcut that is a strided convolution stays. A branch that adds something even
    when its weights are zero, as behind a sigmoid, is left alone. Every branch is a group of its
    own, so the allocation must rank all groups together: `Global` or `Isomorphic`.

    Elkerdawy et al., 2020, "To Filter Prune, or to Layer Prune, That Is The Question",
    arXiv:2007.05667.
    """

    needs_coupling: ClassVar[bool] = True
    whole_groups: ClassVar[bool] = True
    absent: ClassVar[str] = (
        "no residual branch `y = x + f(x)` that could go. Use Channel(), which removes parts of "
        "any layer."
    )

    @property
    @override
    def rules(self) -> UnitRules:
        """The mean score of its weights, so that branches of different sizes compare."""
        return UnitRules("mean", "none")

    @override
    def groups(self, weights: Mapping[str, Tensor], structure: Structure) -> list[Group]:
        """Return the residual branches."""
        return list(structure.branches)

    @override
    def floor(self, group: Group) -> int:
        """Return 0: a branch may be removed."""
        return 0
