"""Many tensors in one buffer."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def split_like(flat: Tensor, shapes: Sequence[torch.Size]) -> list[Tensor]:
    """Return views of ``flat`` in these shapes, one after the other."""
    pieces = torch.split(flat, [shape.numel() for shape in shapes])
    return [piece.view(shape) for piece, shape in zip(pieces, shapes, strict=True)]
