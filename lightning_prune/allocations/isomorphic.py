"""Units ranked among those of the same structure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from typing_extensions import override

from lightning_prune.allocations.base import Allocation, quantiles
from lightning_prune.units.group import Group

_Structure = tuple[tuple[str, str, int, int], ...]


@dataclass(frozen=True)
class Isomorphic(Allocation):
    """Rank units only against units of the same structure, and remove the same fraction of each.

    Two groups have the same structure if their units lie on the same kinds of axes: the same last
    names of parameters, dimensions and sides, whatever the sizes. So heads are ranked with heads,
    residual streams with residual streams and hidden channels with hidden channels.

    Fang et al., 2024, "Isomorphic Pruning for Vision Models", arXiv:2407.04616.

    Args:
        max_sparsity: the largest fraction that a single group may lose, in (0, 1].
    """

    @override
    def priorities(
        self, scores: Sequence[Tensor], groups: Sequence[Group], shapes: Mapping[str, torch.Size]
    ) -> list[Tensor]:
        """Return the quantiles among all units of the same structure."""
        alike: dict[_Structure, list[int]] = {}
        for index, group in enumerate(groups):
            alike.setdefault(_structure(group, shapes), []).append(index)
        out = list(scores)
        for indices in alike.values():
            together = quantiles(torch.cat([scores[i] for i in indices]))
            pieces = torch.split(together, [scores[i].numel() for i in indices])
            for index, piece in zip(indices, pieces, strict=True):
                out[index] = piece
        return out


def _structure(group: Group, shapes: Mapping[str, torch.Size]) -> _Structure:
    """Return on what kinds of axes the units of a group lie."""
    kinds = {
        (m.axis.tensor.rpartition(".")[2], m.side, m.axis.dim, len(shapes[m.axis.tensor]))
        for m in group.parameters
    }
    return tuple(sorted(kinds))
