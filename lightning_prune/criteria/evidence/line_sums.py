"""Sums of tensors along their axes, which are read a piece at a time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from lightning_prune.modules.flat import split_like
from lightning_prune.modules.tiles import Piece


class LineSums:
    """What tensors sum up to along all dimensions but one, for each of some of their dimensions.

    A piece is read twice, while a cache holds it: along its rows, and over its rows. What the rows
    of a tensor add up to is as long as one of them; that is summed along the other axes at the end.

    Args:
        shapes: of the tensors.
        dims: for each tensor, the dimensions along which a sum is wanted for every position.
        device: where the tensors lie.

    Attributes:
        flat: all sums, one after the other, in the order of ``dims``.
        lines: for each tensor its sums by dimension, each of shape ``[size of the dimension]``, in
            the memory of ``flat``.
    """

    def __init__(
        self,
        shapes: Sequence[torch.Size],
        dims: Sequence[Sequence[int]],
        device: torch.device,
    ) -> None:
        shapes = [shape or torch.Size([1]) for shape in shapes]  # a scalar is its only row
        kept = [s[d : d + 1] for s, found in zip(shapes, dims, strict=True) for d in found]
        self.flat = torch.zeros(sum(shape.numel() for shape in kept), device=device)
        views = iter(split_like(self.flat, kept))
        self.lines = [{dim: next(views) for dim in found} for found in dims]
        self._sizes = [shape[0] for shape in shapes]
        rows = {i: s[1:] for i, s in enumerate(shapes) if any(dim > 0 for dim in dims[i])}
        scratch = torch.zeros(max((s.numel() for s in rows.values()), default=0), device=device)
        self._rows = {i: scratch[: s.numel()].view(s) for i, s in rows.items()}

    def add(self, piece: Piece, values: Tensor) -> None:
        """Add a piece of a tensor. Each is added once, those of a tensor one after the other.

        Args:
            piece: which rows of the tensor.
            values: of the piece, in its shape.
        """
        lines, row = self.lines[piece.index], self._rows.get(piece.index)
        rows = piece.stop - piece.start
        if 0 in lines:
            torch.sum(values.view(rows, -1), 1, out=lines[0].narrow(0, piece.start, rows))
        if row is None:
            return
        if piece.start:
            row.add_(values.sum(0))
        else:
            torch.sum(values, 0, out=row)
        if piece.stop == self._sizes[piece.index]:
            self._finish(lines, row)

    def _finish(self, lines: Mapping[int, Tensor], row: Tensor) -> None:
        """Sum what all rows of a tensor add up to along its other dimensions."""
        for dim in range(1, row.dim() + 1):
            if dim in lines:
                others = [d for d in range(row.dim()) if d != dim - 1]
                lines[dim].copy_(row.sum(others) if others else row)
