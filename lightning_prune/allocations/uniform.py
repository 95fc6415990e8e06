"""The same fraction of every group."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from lightning_prune.allocations.base import Allocation


@dataclass(frozen=True)
class Uniform(Allocation):
    r"""Remove the same fraction of every group's units, within one unit.

    .. math:: p_u = \frac{\operatorname{rank}(u) + 1/2}{\mathrm{units}}

    where the lowest score of a group has rank 0 and ties are ranked by index. A cut at priority
    *f* removes the fraction *f* of each group, rounded.
    """

    def priorities(self, scores: Sequence[Tensor]) -> list[Tensor]:
        """Return the relative ranks within each group.

        Args:
            scores: scores of each group's units, each of shape ``[units]``.

        Returns:
            Ranks in (0, 1), in float32: above :math:`2^{24}` units neighbours in rank may coincide.
        """
        return [_relative_rank(group) for group in scores]


def _relative_rank(scores: Tensor) -> Tensor:
    """Return (rank + 1/2) / units of every unit, shape ``[units]``."""
    units = scores.numel()
    ranks = torch.empty(units, device=scores.device)
    order = torch.argsort(scores, stable=True)
    ranks[order] = (torch.arange(units, device=scores.device) + 0.5) / units
    return ranks
