"""What an allocation is: how the sparsity is shared among groups.

An allocation makes unit scores of different groups comparable. It sees scores and the shapes of
what they belong to: no values of weights, no target, no masks.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar

import torch
from torch import Tensor

from lightning_prune.arguments import check_fraction
from lightning_prune.units.group import Group


@dataclass(frozen=True)
class Allocation(ABC):
    """How the sparsity is shared among groups, as removal priorities.

    Units of the **lowest** priority are removed first, whatever group they are in. Cutting "the
    most important 20%" is the wrong way round.

    Args:
        max_sparsity: no group loses more than this fraction of its units, in (0, 1]; each keeps at
            least one in any case. The report names the groups that are at their bound.

    Attributes:
        within_groups: takes a fraction of the units of every group, so groups must have several.

    Raises:
        ValueError: if ``max_sparsity`` is outside its range.
    """

    within_groups: ClassVar[bool] = False

    max_sparsity: float = field(default=1.0, kw_only=True)

    def __post_init__(self) -> None:
        cure = "It is the largest fraction that a single group may lose."
        check_fraction("max_sparsity", self.max_sparsity, "(0, 1]", cure)

    def check(self, groups: Sequence[Group]) -> None:  # noqa: B027 most have nothing to refuse
        """Refuse groups that do not go with the options, before any is pruned.

        Args:
            groups: the groups that will be.

        Raises:
            ValueError: if they do not.
        """

    @abstractmethod
    def priorities(
        self, scores: Sequence[Tensor], groups: Sequence[Group], shapes: Mapping[str, torch.Size]
    ) -> list[Tensor]:
        """Return the removal priorities of all units.

        Args:
            scores: scores of each group's units, each of shape ``[units]``, higher = keep; -inf
                where a unit is already dead.
            groups: the groups.
            shapes: shape of every parameter, by name.

        Returns:
            Floating tensors of the same shapes, comparable across groups; within a group their
            order is that of the scores. +inf where a unit must stay.
        """


def quantiles(scores: Tensor) -> Tensor:
    r"""Return the quantile of every unit in the ranking by score.

    .. math:: q_u = \frac{i_u + 1/2}{\mathrm{units}}

    where :math:`i_u` is the index in ascending order of the scores and ties keep their order:
    removing all below *f* removes the fraction *f*, rounded.

    Args:
        scores: shape ``[units]``.

    Returns:
        Quantiles in (0, 1), shape ``[units]``; in float64, so that neighbours differ.
    """
    units = scores.numel()
    # On devices without float64 neighbours may coincide above 2**24 units.
    dtype = torch.float32 if scores.device.type == "mps" else torch.float64
    found = torch.empty(units, device=scores.device, dtype=dtype)
    order = torch.argsort(scores, stable=True)
    found[order] = (torch.arange(units, device=scores.device, dtype=dtype) + 0.5) / units
    return found
