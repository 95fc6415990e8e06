"""Plan: which positions stay, decided before anything is touched.

A plan is data: it can be printed, compared and tested without a model. It never empties an axis:
of a group whose units are all dead, the first one stays.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from lightning_prune.units.group import Axis, Group, GroupCount


@dataclass(frozen=True, eq=False)
class Plan:
    """Positions to keep.

    Args:
        kept: positions that stay along each axis that shrinks, ascending.
        groups: what happens to each group, in the order of the network.
        group_fractions: for weights of grouped convolutions and group norms that lose whole
            groups, the fraction of groups that stays.
    """

    kept: dict[Axis, Tensor]
    groups: tuple[GroupCount, ...]
    group_fractions: dict[str, float]

    @property
    def removed(self) -> int:
        """Units that go."""
        return sum(group.removed for group in self.groups)


def plan_removal(
    groups: Sequence[Group], dead: Sequence[Tensor], grouped: frozenset[str] = frozenset()
) -> Plan:
    """Plan the removal of dead units.

    Args:
        groups: coupled units.
        dead: for each group, ``True`` where a unit may go, shape ``[units]``.
        grouped: weights of layers that lose whole groups along their first axis.

    Returns:
        What stays along every axis that shrinks.
    """
    gone: dict[Axis, Tensor] = {}
    counts = []
    for group, may_go in zip(groups, dead, strict=True):
        removed = may_go.clone()
        if bool(removed.all()):
            removed[0] = False
        counts.append(GroupCount(group.name, group.units, int(removed.sum())))
        if not bool(removed.any()):
            continue
        for member in group.members:
            marks = gone.setdefault(member.axis, torch.zeros(member.size, dtype=torch.bool))
            marks[member.owned_by(removed)] = True
    kept = {axis: (~marks).nonzero().flatten() for axis, marks in gone.items()}
    fractions = {
        axis.tensor: len(positions) / len(gone[axis])
        for axis, positions in kept.items()
        if axis.tensor in grouped and axis.dim == 0
    }
    return Plan(kept, tuple(counts), fractions)
