"""Scores summed along axes of the weights as they are read: none of a single weight is kept."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from typing_extensions import override

from lightning_prune.criteria.evidence.accumulator import Accumulator, ScoredStep
from lightning_prune.criteria.evidence.line_sums import LineSums
from lightning_prune.modules.shards import local
from lightning_prune.modules.tiles import most_of

if TYPE_CHECKING:
    from lightning_prune.criteria.base import Criterion


def saves_by_lines(weights: Sequence[Tensor]) -> bool:
    """Return whether to sum scores along axes, where that is enough.

    It is less to hold, and on a CPU faster. An accelerator needs several kernels for every weight;
    for small models these take longer to start than the memory is worth.
    """
    device = weights[0].device
    return device.type == "cpu" or sum(w.numel() for w in weights) > most_of(device)


class LineAccumulator(Accumulator):
    """Scores summed along axes of the weights as they are read: a number for every position.

    Args:
        weights: as of `Accumulator`.
        criterion: an elementwise one.
        dims: for each weight, the dimensions along which numbers are wanted, at least one.
        tile: as of `Accumulator`.
    """

    def __init__(
        self,
        weights: Sequence[Tensor],
        criterion: Criterion,
        dims: Sequence[Sequence[int]],
        *,
        tile: int | None = None,
    ) -> None:
        self._dims = [tuple(found) for found in dims]
        super().__init__(weights, criterion, tile=tile)
        self._step = LineSums([local(w).shape for w in self._weights], self._dims, self._device)
        # Each line of a weight adds up to the same: the first ones count.
        firsts = torch.tensor([dim == found[0] for found in self._dims for dim in found])
        sizes = torch.tensor([shape.numel() for shape in self._slots.values()])
        self._counted = firsts.repeat_interleave(sizes).to(self._device)

    @override
    def _shapes(self, parts: Sequence[Tensor]) -> dict[object, torch.Size]:
        pairs = zip(self._weights, parts, self._dims, strict=True)
        return {(id(w), d): part.shape[d : d + 1] for w, part, dims in pairs for d in dims}

    @override
    def _add(self, step: ScoredStep) -> Tensor:
        for tile in self._tiles:
            self._write(tile, step)
            for piece, scores in zip(tile.pieces, tile.outs, strict=True):
                self._step.add(piece, scores)
        sums = self._step.flat
        total = (sums * self._counted).sum()
        self._add_scaled(self._sum, sums, total)
        return total

    @override
    def _flags(self, chosen: Sequence[int]) -> Tensor:
        among = set(chosen)
        return torch.tensor([float(i in among) for i, dims in enumerate(self._dims) for _ in dims])
