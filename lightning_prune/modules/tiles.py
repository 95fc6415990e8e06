"""Tiles: many tensors in small parts, so that what is computed of a part stays in a cache.

One buffer of the size of a tile serves all of them, where one for every tensor would be as large as
the model.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

ON_CPU = 2**17
"""Elements of a tile that a cache of a processor's core holds, with what is read beside it."""
ELSEWHERE = 2**26
"""Elements of a tile on an accelerator, where starting a kernel takes long."""


@dataclass(frozen=True)
class Piece:
    """Consecutive rows of one of several tensors: positions along its first dimension.

    Args:
        index: which of the tensors.
        start: its first row.
        stop: the row after its last.
        shape: of the piece.
    """

    index: int
    start: int
    stop: int
    shape: torch.Size

    @property
    def offset(self) -> int:
        """Where it begins among the elements of its tensor."""
        rows = self.stop - self.start
        return self.start * (self.shape.numel() // rows if rows else 0)

    def of(self, tensors: Sequence[Tensor] | Mapping[int, Tensor]) -> Tensor:
        """Return these rows of the tensors, in the same memory."""
        tensor = tensors[self.index]
        if tensor.shape == self.shape:
            return tensor
        return tensor.narrow(0, self.start, self.stop - self.start)

    def of_flat(self, tensors: Sequence[Tensor]) -> Tensor:
        """Return these elements of flattened tensors, in the same memory."""
        return tensors[self.index][self.offset : self.offset + self.shape.numel()]


def most_of(device: torch.device) -> int:
    """Return how many elements of a tile suit a device."""
    return ON_CPU if device.type == "cpu" else ELSEWHERE


def pieces_of(tensors: Sequence[Tensor]) -> list[Piece]:
    """Return pieces of a size that suits the device of the tensors, all of which lie on one."""
    most = most_of(tensors[0].device)
    tiles = tiles_of([tensor.shape for tensor in tensors], most)
    return [piece for tile in tiles for piece in tile]


def tiles_of(shapes: Sequence[torch.Size], most: int) -> list[list[Piece]]:
    """Return pieces of tensors, in order, in tiles of at most ``most`` elements.

    A row that is longer is a tile by itself; a scalar is its only row.

    Args:
        shapes: of the tensors.
        most: elements of a tile.

    Returns:
        Tiles that together hold every element once.

    Examples:
        >>> tiles = tiles_of([torch.Size([5, 2]), torch.Size([3])], most=6)
        >>> [[(piece.index, piece.start, piece.stop) for piece in tile] for tile in tiles]
        [[(0, 0, 3)], [(0, 3, 5)], [(1, 0, 3)]]
    """
    tiles: list[list[Piece]] = []
    room = 0
    for index, shape in enumerate(shapes):
        rows = shape[0] if shape else 1
        width = shape.numel() // max(rows, 1)
        step = max(most // max(width, 1), 1)
        for start in range(0, rows, step):
            stop = min(start + step, rows)
            size = (stop - start) * width
            if not tiles or size > room:
                tiles.append([])
                room = most
            part = torch.Size([stop - start, *shape[1:]]) if shape else shape
            tiles[-1].append(Piece(index, start, stop, part))
            room -= size
    return tiles
