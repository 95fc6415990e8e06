"""Single weights: unstructured sparsity."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor
from typing_extensions import override

from lightning_prune.granularities.base import Granularity
from lightning_prune.units.group import Axis, Group, Member, Structure


@dataclass(frozen=True)
class Weight(Granularity):
    """A unit is a single weight.

    Every floating-point parameter of two or more dimensions is one group; biases and
    norms are left alone. Zeroed weights make a model sparse, not small.
    """

    needs_coupling: ClassVar[bool] = False
    regrows: ClassVar[bool] = True

    @override
    def groups(self, weights: Mapping[str, Tensor], structure: Structure) -> list[Group]:
        """Return one group for each weight tensor."""
        return [
            Group(name, w.numel(), (Member(Axis(name, -1), "out", w.numel()),))
            for name, w in weights.items()
            if w.is_floating_point() and w.dim() >= 2
        ]
