"""Attention heads."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor
from typing_extensions import override

from lightning_prune.granularities.base import Granularity, UnitRules
from lightning_prune.units.group import Group, Structure
from lightning_prune.units.scores import Normalize, Reduce


@dataclass(frozen=True)
class Head(Granularity):
    """A unit is an attention head: its queries, keys and values, and what reads them.

    Where several query heads share keys and values, a unit is the whole of such a group; where all
    of them share one head of keys and values, that stays, and each query head is a unit. Of the
    coupled groups these are the ones whose units are multiplied apart, each with its own, and own
    blocks of neighbouring rows of projections, separate or fused, and beside those their share of a
    table of biases. `Channel` prunes them as well, together with all others.

    Michel et al., 2019, "Are Sixteen Heads Really Better than One?", arXiv:1905.10650.

    Args:
        reduce: how the scores of all weights of a head become one: ``"sum"``, ``"mean"``,
            ``"max"`` or ``"l2"``.
        normalize: by what the scores of a group are divided, so that groups compare: the ``"mean"``
            or the ``"max"``, in which removed heads count as zero, or ``"none"``.
        min_units: keep at least this many heads of every layer.

    Raises:
        ValueError: if an option is none of its words, or less than 1.
    """

    reduce: Reduce = "sum"
    normalize: Normalize = "mean"
    min_units: int = 1

    needs_coupling: ClassVar[bool] = True
    absent: ClassVar[str] = (
        "no attention whose heads could go. Use Channel(), which removes hidden units and features "
        "of any layer, also of LSTM, GRU and RNN."
    )

    def __post_init__(self) -> None:
        _ = self.rules  # which checks them

    @property
    @override
    def rules(self) -> UnitRules:
        """The options."""
        return UnitRules(self.reduce, self.normalize, min_units=self.min_units)

    @override
    def groups(self, weights: Mapping[str, Tensor], structure: Structure) -> list[Group]:
        """Return the coupled groups whose units are heads."""
        return [group for group in structure.coupled if group.apart and _has_blocks(group, weights)]


def _has_blocks(group: Group, weights: Mapping[str, Tensor]) -> bool:
    """Tell whether a unit owns neighbouring rows of projections, and no rows that stand alone."""
    found = False
    for member in group.parameters:
        weight = weights[member.axis.tensor]
        if member.side != "out" or weight.dim() < 2:
            continue
        first = member.owned_by(torch.arange(group.units) == 0).sort().values
        if len(first) == 1:  # of a table of biases, or of heads that have an axis before features
            found |= weight.dim() == 3 and member.axis.dim < 2
            continue
        if min(len(run) for run in _runs(first)) < 2:
            return False
        found = True
    return found


def _runs(positions: Tensor) -> list[Tensor]:
    """Split sorted positions into runs of neighbours."""
    breaks = (positions.diff() != 1).nonzero().flatten() + 1
    return list(torch.tensor_split(positions, breaks))
