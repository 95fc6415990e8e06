"""Spared: weights that stay although an update would remove them.

A weight norm divides a direction by its length. Of every direction that has a length one weight
stays, the largest, or the block in which it lies. Patterns of N:M keep some of every row anyway.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from lightning_prune.modules.directions import directions_of
from lightning_prune.pruning.masks import Masks
from lightning_prune.units.group import Group


class Spared:
    """What keeps the directions of one model from becoming zero.

    Args:
        model: the module that is pruned.
        masks: over its units.
        patterns: units are of N:M patterns, to which none is added.
    """

    def __init__(self, model: nn.Module, masks: Masks, *, patterns: bool = False) -> None:
        names = {id(weight): name for name, weight in masks.weights.items()}
        directions = [] if patterns else directions_of(model)
        found = ((names.get(id(parameter)), dim) for parameter, dim in directions)
        self._dims = {name: dim for name, dim in found if name is not None}
        self._masks = masks

    def added_to(self, kept: Sequence[Tensor]) -> list[Tensor]:
        """Return which units to keep, with those that have to stay.

        Args:
            kept: for each group which single weights, or blocks of them, an update would keep.

        Returns:
            The same for other units, and where every direction has something left.
        """
        if self._masks.sharded or not self._dims:
            return list(kept)
        return [self._with_lengths(g, k) for g, k in zip(self._masks.groups, kept, strict=True)]

    def _with_lengths(self, group: Group, kept: Tensor) -> Tensor:
        """Return which units of a group to keep, with those of directions that would be zero."""
        member = group.members[0]
        name = member.axis.tensor
        if name not in self._dims or member.axis.dim >= 0 or group.units == 1:
            return kept  # units of a coupled group, or a branch: a direction goes with its length
        weight = self._masks.widened(name, self._masks.weights[name].detach()).abs().cpu()
        stays = member.spread(kept, elsewhere=True).view(weight.shape)
        lines, flags = (_lines(tensor, self._dims[name]) for tensor in (weight, stays))
        positions = _lines(torch.arange(weight.numel()).view(weight.shape), self._dims[name])
        empty = ~(flags & (lines > 0)).any(1) & (lines > 0).any(1)
        if not empty.any():
            return kept
        largest = positions.gather(1, lines.argmax(1, keepdim=True))[empty].flatten()
        unit_of = member.spread(torch.arange(group.units), elsewhere=0)
        return kept.index_fill(0, unit_of[largest], True)


def _lines(tensor: Tensor, dim: int) -> Tensor:
    """Return what has a norm each, a row for each."""
    return tensor.reshape(1, -1) if dim < 0 else tensor.transpose(0, dim).flatten(1)
