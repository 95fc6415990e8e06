"""Blocks: tiles of weight matrices."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor
from typing_extensions import override

from lightning_prune.arguments import check_integer
from lightning_prune.granularities.base import Granularity, UnitRules
from lightning_prune.units.group import Axis, Group, Member, Structure
from lightning_prune.units.scores import Normalize, Reduce


@dataclass(frozen=True)
class Block(Granularity):
    """A unit is a tile of a weight matrix: ``rows`` outputs by ``cols`` inputs.

    Of a convolution a tile takes whole kernels. Every floating-point parameter of two or more
    dimensions is one group; one whose first two sizes are no multiples of the tile is left alone,
    and the report says so. Zeroed blocks make a model sparse, not small.

    Args:
        rows: positions along the first dimension.
        cols: positions along the second.
        reduce: how the scores of the weights of a block become one.
        normalize: by what the scores of a group are divided, so that groups compare.

    Raises:
        ValueError: if an argument is none of its words, or less than 1.
    """

    rows: int
    cols: int
    reduce: Reduce = "sum"
    normalize: Normalize = "mean"

    needs_coupling: ClassVar[bool] = False
    regrows: ClassVar[bool] = True

    def __post_init__(self) -> None:
        check_integer("rows", self.rows, 1, "It counts weights.")
        check_integer("cols", self.cols, 1, "It counts weights.")
        _ = self.rules  # which checks the other options

    @property
    @override
    def rules(self) -> UnitRules:
        """The options."""
        return UnitRules(self.reduce, self.normalize)

    @override
    def groups(self, weights: Mapping[str, Tensor], structure: Structure) -> list[Group]:
        """Return one group for each weight tensor that tiles cover."""
        groups = []
        for name, weight in weights.items():
            if weight.is_floating_point() and weight.dim() >= 2 and self._covers(weight):
                positions = self._positions(weight.shape)
                member = Member(Axis(name, -1), "out", weight.numel(), positions)
                groups.append(Group(name, len(positions), (member,)))
        return groups

    @override
    def refused(self, weights: Mapping[str, Tensor]) -> dict[str, str]:
        """Return the parameters that tiles do not cover."""
        return {
            name: f"its sizes are no multiples of {self.rows} by {self.cols}"
            for name, weight in weights.items()
            if weight.is_floating_point() and weight.dim() >= 2 and not self._covers(weight)
        }

    def _covers(self, weight: Tensor) -> bool:
        return weight.shape[0] % self.rows == 0 and weight.shape[1] % self.cols == 0

    def _positions(self, shape: torch.Size) -> Tensor:
        """Return the flat positions of every tile, shape ``[tiles, elements]``."""
        flat = torch.arange(shape.numel()).view(
            shape[0] // self.rows, self.rows, shape[1] // self.cols, self.cols, -1
        )
        return flat.permute(0, 2, 1, 3, 4).reshape(-1, flat[0, :, 0].numel())
