"""Scores of units as wholes, made in every step of those of their weights."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from typing_extensions import override

from lightning_prune.criteria.evidence.accumulator import Accumulator, ScoredStep
from lightning_prune.modules.shards import sum_over_ranks

if TYPE_CHECKING:
    from lightning_prune.criteria.base import Criterion


class UnitAccumulator(Accumulator):
    """Scores of units as wholes, made of those of the weights in every step.

    Every step counts for all units.

    Args:
        weights: as of `Accumulator`.
        criterion: one that scores whole units.
        fold: makes scores of units of those of the weights.
        sizes: how many scores ``fold`` returns in each of its tensors, by a name for each.
    """

    def __init__(
        self,
        weights: Sequence[Tensor],
        criterion: Criterion,
        fold: Callable[[Sequence[Tensor]], Sequence[Tensor]],
        sizes: Mapping[str, int],
    ) -> None:
        self._fold, self._sizes = fold, dict(sizes)
        super().__init__(weights, criterion)

    @override
    def _shapes(self, parts: Sequence[Tensor]) -> dict[object, torch.Size]:
        return {name: torch.Size([size]) for name, size in self._sizes.items()}

    @override
    def _add(self, step: ScoredStep) -> Tensor:
        (tile,) = self._tiles
        self._write(tile, step)
        folded = torch.cat(list(self._fold(tile.outs)))
        total = sum_over_ranks(folded.sum(), self._weights[0])
        self._add_scaled(self._sum, folded, total)
        return total

    @override
    def _flags(self, chosen: Sequence[int]) -> Tensor:
        return torch.ones(len(self._slots))
