"""The accumulator: scores averaged over the optimizer steps between two mask updates.

It reads gradients and writes only its own buffers; it knows no masks. Adding a step neither
synchronises with the device nor allocates memory of the model's size: scores are written a tile at
a time.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from lightning_prune.modules.cpu_copies import cpu_copies
from lightning_prune.modules.flat import split_like
from lightning_prune.modules.shards import (
    is_sharded,
    join_like,
    local,
    shard_like,
    sum_over_ranks,
    whole,
)
from lightning_prune.modules.tiles import Piece, most_of, tiles_of

if TYPE_CHECKING:
    from lightning_prune.criteria.base import Criterion

_TINY = torch.finfo(torch.float32).tiny


class Accumulator:
    """Scores summed over steps, in one flat float32 buffer.

    A step whose scores are not all finite, as after an overflow of mixed precision, does not
    count; nor does one whose scores are all zero, by which no weight differs from another. The
    average of a weight is over the steps of its own optimizer only.

    Args:
        weights: the weights to score, all on one device.
        criterion: a criterion that reads gradients.
        tile: elements of the weights that are scored at once, ``None`` = what suits the device.
            Scores that depend on those of other weights are all written at once.
    """

    def __init__(
        self, weights: Sequence[Tensor], criterion: Criterion, *, tile: int | None = None
    ) -> None:
        self._weights = list(weights)
        self._criterion = criterion
        parts = [local(w.detach()) for w in self._weights]
        self._device = parts[0].device
        size = sum(part.numel() for part in parts)
        most = tile or most_of(self._device)
        most = most if criterion.elementwise and not criterion.whole_units else max(size, 1)
        self._tiles = _tiles([part.shape for part in parts], most, self._device)
        self._slots = self._shapes(parts)
        elements = sum(shape.numel() for shape in self._slots.values())
        self._sum = torch.zeros(elements, device=self._device)
        self._steps = torch.zeros(len(self._slots), device=self._device)
        self._offered: dict[tuple[int, ...], Tensor] = {}

    def _shapes(self, parts: Sequence[Tensor]) -> dict[object, torch.Size]:
        """Return the shape of each sum, by what it is of."""
        return {id(w): part.shape for w, part in zip(self._weights, parts, strict=True)}

    @property
    def ready(self) -> bool:
        """Whether any step was added that counts. Synchronises with the device."""
        return bool(self._steps.any())

    @torch.no_grad()
    def add(
        self,
        parameters: Iterable[Tensor] | None = None,
        grad_scale: float | Tensor | None = None,
    ) -> None:
        """Add the scores of one step, read off ``.grad``.

        A weight without a gradient scores zero.

        Args:
            parameters: look only at the weights among these, ``None`` = at all.
            grad_scale: what the gradients were multiplied with, ``None`` = nothing.
        """
        among = None if parameters is None else {id(p) for p in parameters}
        chosen = [i for i, w in enumerate(self._weights) if among is None or id(w) in among]
        step = ScoredStep(self._weights, chosen, grad_scale)
        if step.gradients:
            total = self._add(step)
            # Scores may have a sign; that they add up to nothing means that all are zero.
            counts = total.isfinite() & (total != 0)
            self._steps.add_(self._indicator(tuple(chosen)) * counts)

    def _add(self, step: ScoredStep) -> Tensor:
        """Add the scores of a step; return their sum over all weights."""
        written = [self._write(tile, step).sum() for tile in self._tiles]
        total = torch.stack([self._sum.new_zeros(()), *written]).sum()
        total = sum_over_ranks(total, self._weights[0])
        sums = self._sum.split([tile.scores.numel() for tile in self._tiles])
        last = len(self._tiles) - 1
        for number in range(last, -1, -1):
            if number != last:  # the scores of the last tile are still there
                self._write(self._tiles[number], step)
            self._add_scaled(sums[number], self._tiles[number].scores, total)
        return total

    def _write(self, tile: Tile, step: ScoredStep) -> Tensor:
        """Write the scores of a tile, zero where there is no gradient, and return them, flat."""
        pieces, outs = tile.pieces, tile.outs
        if len(step.gradients) < len(self._weights):
            here = [n for n, piece in enumerate(pieces) if piece.index in step.gradients]
            if len(here) < len(pieces):
                tile.scores.zero_()
            pieces, outs = [pieces[n] for n in here], [outs[n] for n in here]
        if pieces:
            self._criterion.write(outs, *step.read(pieces))
        return tile.scores

    def _add_scaled(self, sums: Tensor, scores: Tensor, total: Tensor) -> None:
        """Add scores to sums, divided by their total where the criterion shares."""
        # Zero all bits of a step that is not finite: no branch waits for the device, and unlike
        # NaN * 0 the product is 0.
        scores.view(torch.int32).mul_(total.isfinite().to(torch.int32))
        if self._criterion.shares:
            scale = total.clamp_min(_TINY).reciprocal().nan_to_num(0.0, posinf=0.0)
            sums.addcmul_(scores, scale)
        else:
            sums.add_(scores)

    def mean(self) -> list[Tensor]:
        """Return the average scores over the steps that count, a tensor for each sum."""
        sums = split_like(self._sum, list(self._slots.values()))
        return list(torch._foreach_div(sums, list(self._steps.clamp_min(1.0))))

    def mean_of(self, piece: Piece) -> Tensor:
        """Return a piece of what `mean` returns, flat."""
        before = sum(shape.numel() for shape in list(self._slots.values())[: piece.index])
        start = before + piece.offset
        sums = self._sum[start : start + piece.shape.numel()]
        return sums / self._steps[piece.index].clamp_min(1.0)

    def state_dict(self) -> dict[str, Tensor]:
        """Return the sums, of all ranks, and the numbers of steps, copied to the CPU."""
        total = self._sum
        if is_sharded(self._weights[0]):
            pieces = zip(split_like(total, list(self._slots.values())), self._weights, strict=True)
            total = torch.cat([whole(join_like(p, w)).cpu().flatten() for p, w in pieces])
        return cpu_copies({"sum": total, "steps": self._steps})

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Take over what `state_dict` returned for the same weights."""
        total = state["sum"]
        if not is_sharded(self._weights[0]) and total.numel() != self._sum.numel():
            raise ValueError(
                f"Expected {self._sum.numel()} sums of scores in the checkpoint, but got "
                f"{total.numel()}: it was written between two updates on another kind of device. "
                "Resume on that, or from a checkpoint of the step after an update."
            )
        if is_sharded(self._weights[0]):
            shapes = [w.shape for w in self._weights]
            pieces = zip(split_like(total, shapes), self._weights, strict=True)
            total = torch.cat([shard_like(p, w).flatten() for p, w in pieces])
        self._sum.copy_(total)
        self._steps.copy_(state["steps"])

    def adopt(self, other: Accumulator) -> None:
        """Take over the scores of what another accumulator knows, too."""
        theirs = {
            key: (total, other._steps[i])
            for i, (key, total) in enumerate(
                zip(other._slots, split_like(other._sum, list(other._slots.values())), strict=True)
            )
        }
        mine = split_like(self._sum, list(self._slots.values()))
        for i, (key, view) in enumerate(zip(self._slots, mine, strict=True)):
            if key in theirs:
                total, self._steps[i] = theirs[key]
                view.copy_(total)

    def _indicator(self, chosen: tuple[int, ...]) -> Tensor:
        """Return 1 for each sum to which the step adds, else 0; made once, as copying waits."""
        if chosen not in self._offered:
            self._offered[chosen] = self._flags(chosen).to(self._device)
        return self._offered[chosen]

    def _flags(self, chosen: Sequence[int]) -> Tensor:
        """Return 1 for each sum that is of one of these weights, else 0."""
        flags = torch.zeros(len(self._slots))
        flags[list(chosen)] = 1.0
        return flags


@dataclass(frozen=True)
class Tile:
    """Pieces of weights, and where their scores are written; all tiles share that memory.

    Args:
        pieces: consecutive ones.
        scores: of all of them, flat.
        outs: views of that, one for each piece.
    """

    pieces: list[Piece]
    scores: Tensor
    outs: list[Tensor]


def _tiles(shapes: Sequence[torch.Size], most: int, device: torch.device) -> list[Tile]:
    """Return tiles of at most ``most`` elements, if no row of a tensor has more."""
    tiles = tiles_of(shapes, most)
    sizes = [sum(piece.shape.numel() for piece in pieces) for pieces in tiles]
    scratch = torch.zeros(max(sizes, default=0), device=device)
    return [
        Tile(pieces, scratch[:size], split_like(scratch[:size], [p.shape for p in pieces]))
        for pieces, size in zip(tiles, sizes, strict=True)
    ]


class ScoredStep:
    """What one step has left on the weights, read a piece at a time.

    Args:
        weights: all weights.
        chosen: which of them the step is of.
        scale: what the gradients were multiplied with, ``None`` = nothing.

    Attributes:
        gradients: those that there are, none in a sparse layout, by the index of their weight.
    """

    def __init__(
        self, weights: Sequence[Tensor], chosen: Sequence[int], scale: float | Tensor | None
    ) -> None:
        self._scale = scale
        self.gradients: dict[int, Tensor] = {}
        for index in chosen:
            gradient = weights[index].grad
            if gradient is not None:
                dense = gradient.to_dense() if gradient.is_sparse else local(gradient)
                self.gradients[index] = dense
        self._weights = {index: local(weights[index]) for index in self.gradients}

    def read(self, pieces: Sequence[Piece]) -> tuple[list[Tensor], list[Tensor]]:
        """Return pieces of the weights and of their gradients, unscaled."""
        weights = [piece.of(self._weights) for piece in pieces]
        gradients = [piece.of(self.gradients) for piece in pieces]
        if self._scale is not None:
            gradients = list(torch._foreach_div(gradients, self._scale))
        return weights, gradients
