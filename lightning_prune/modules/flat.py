"""Many tensors in one buffer."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def split_like(flat: Tensor, tensors: Sequence[Tensor]) -> list[Tensor]:
    """Return views of ``flat`` in the shapes of ``tensors``, one after the other."""
    pieces = torch.split(flat, [t.numel() for t in tensors])
    return [piece.view(t.shape) for piece, t in zip(pieces, tensors, strict=True)]
