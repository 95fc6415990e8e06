"""Shrinkage: the units that the next update would remove become small before.

It multiplies weights in place. A pruner says which units, a regularization by what.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from lightning_prune.pruning.base_pruner import BasePruner
from lightning_prune.pruning.bits import pack, unpack
from lightning_prune.regularizations import Regularization
from lightning_prune.units.group import Group, Member
from lightning_prune.units.scores import unit_scores


class Shrinkage:
    """The units of one pruner that its next update would remove.

    Args:
        regularization: by what they shrink; ``None`` = nothing does.
    """

    def __init__(self, regularization: Regularization | None) -> None:
        self._regularization = regularization
        self._going: list[Tensor] | None = None
        self._steps = 0
        self._stepped: set[str] = set()

    @property
    def is_idle(self) -> bool:
        """Whether nothing is to shrink."""
        return self._regularization is None

    def choose(self, pruner: BasePruner, target: float) -> None:
        """Choose the units that an update would remove now, if that is due and there are scores.

        Args:
            pruner: what will remove them.
            target: the sparsity of its next update.
        """
        if self._regularization is None:
            return
        fresh = self._fits(pruner) and self._steps % self._regularization.refresh
        if fresh or target <= pruner.sparsity or not pruner.ready:
            return
        pairs = zip(pruner.masks.kept, pruner.preview(target), strict=True)
        self._going = [before & ~after for before, after in pairs]

    def forget(self) -> None:
        """Forget the chosen units and the steps: an update has removed them."""
        self._going, self._steps, self._stepped = None, 0, set()

    @torch.no_grad()
    def apply(self, pruner: BasePruner, rates: Mapping[int, float]) -> None:
        """Shrink the chosen units; call it after every optimizer step.

        Where several optimizers share the weights, their steps count as one until one of them
        steps again.

        Args:
            pruner: what will remove them.
            rates: learning rate of every parameter that the optimizer has stepped on, by its id;
                units shrink by that of the first of their weights.
        """
        if self._regularization is None or self._going is None or not self._fits(pruner):
            return
        weights = {n: w for n, w in pruner.masks.weights.items() if id(w) in rates}
        if not weights:  # the optimizer of another network: no step of this one
            return
        self._count(weights)
        factors = [
            self._factors(self._regularization, group, going, pruner.masks.weights, rates)
            if going.any()
            else None
            for group, going in zip(pruner.masks.groups, self._going, strict=True)
        ]
        for group, factor in zip(pruner.masks.groups, factors, strict=True):
            if factor is not None:
                for member in _members(group, weights):
                    weight = weights[member.axis.tensor]
                    weight.mul_(_line(member, factor.to(weight), weight.shape))

    def _count(self, weights: Collection[str]) -> None:
        """Count a step, unless it is part of the last one."""
        if not self._steps or not self._stepped.isdisjoint(weights):
            self._steps += 1
            self._stepped = set()
        self._stepped.update(weights)

    def state_dict(self) -> dict[str, Any] | None:
        """Return the units as packed bits, and the steps; ``None`` without regularization."""
        if self._regularization is None:
            return None
        going = self._going or []
        return {
            "steps": self._steps,
            "stepped": sorted(self._stepped),
            "aimed": self._going is not None,
            "going": [pack(flags) for flags in going],
            "sizes": [flags.numel() for flags in going],
        }

    def load_state_dict(self, state: Mapping[str, Any] | None) -> None:
        """Take over what `state_dict` returned."""
        if self._regularization is None or state is None:
            return
        self._steps, self._stepped = state["steps"], set(state["stepped"])
        self._going = None
        if state["aimed"]:
            pairs = zip(state["going"], state["sizes"], strict=True)
            self._going = [unpack(going.cpu(), size) for going, size in pairs]

    def _fits(self, pruner: BasePruner) -> bool:
        """Return whether units are chosen, and of all groups: some may have joined in since."""
        return self._going is not None and len(self._going) == len(pruner.masks.groups)

    def _factors(
        self,
        regularization: Regularization,
        group: Group,
        going: Tensor,
        weights: Mapping[str, Tensor],
        rates: Mapping[int, float],
    ) -> Tensor:
        """Return by what each unit of a group is multiplied; 1 for those that stay."""
        members = _members(group, weights)
        if not members:
            return torch.ones(group.units)
        squares = {m.axis.tensor: weights[m.axis.tensor].square() for m in members}
        norms = unit_scores(group, squares).sqrt()
        size = sum(
            m.width * (1 if m.axis.dim < 0 else weights[m.axis.tensor].numel() // m.size)
            for m in members
        )
        rate = next((rates[key] for key in _ids(members, weights) if key in rates), 0.0)
        factors = regularization.factors(norms, round(size), self._steps - 1, rate)
        return torch.where(going.to(factors.device), factors, torch.ones_like(factors))


def _members(group: Group, weights: Mapping[str, Tensor]) -> list[Member]:
    """Return the members of a group on these weights that are zeroed with it."""
    return [m for m in group.parameters if m.side != "shape" and m.axis.tensor in weights]


def _ids(members: Sequence[Member], weights: Mapping[str, Tensor]) -> list[int]:
    return [id(weights[member.axis.tensor]) for member in members]


def _line(member: Member, factors: Tensor, shape: torch.Size) -> Tensor:
    """Return factors of units along an axis, in a shape that broadcasts."""
    line = member.spread(factors, elsewhere=1.0)
    if member.axis.dim < 0:
        return line.view(shape)
    return line.view([-1 if dim == member.axis.dim else 1 for dim in range(len(shape))])
