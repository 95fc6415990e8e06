"""The mask of one tensor: what is kept along its axes, from which the whole mask follows.

A channel's mask is a flag for each channel, not one for each weight.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import reduce

import torch
from torch import Tensor


@dataclass(frozen=True, eq=False)
class WeightMask:
    """What is kept of a tensor: the elements that all of its lines keep.

    Args:
        shape: of the tensor.
        lines: by dimension boolean tensors of shape ``[positions]``, ``True`` = kept; by -1 one
            for all elements, flattened.
    """

    shape: torch.Size
    lines: Mapping[int, Tensor]

    def whole(self) -> Tensor:
        """Return the mask, boolean, in the shape of the tensor."""
        factors = [self.along(dim) for dim in self.lines]
        mask = reduce(torch.logical_and, factors) if len(factors) > 1 else factors[0]
        return mask.expand(self.shape)

    @property
    def removes(self) -> bool:
        """Whether anything is not kept."""
        return not all(bool(line.all()) for line in self.lines.values())

    def along(self, dim: int) -> Tensor:
        """Return one line in a shape that broadcasts to the tensor."""
        line = self.lines[dim]
        if dim < 0:
            return line.view(self.shape)
        return line.view([-1 if d == dim else 1 for d in range(len(self.shape))])
