"""The cost of units: what the sparsity is a fraction of.

Removing units from several axes of one tensor removes a product, not a sum; the cost counts that
exactly. Nothing here sees values of weights.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from lightning_prune.errors import TargetError
from lightning_prune.units.group import Group

Of = Literal["parameters", "macs", "units", "latency"]


@dataclass(frozen=True)
class Term:
    """One tensor, priced per element.

    Args:
        price: of one element.
        rest: elements per combination of positions along ``axes``.
        axes: for each axis on which units lie its size, and for each group on it the group's
            index and the positions that one of its units owns.
    """

    price: float
    rest: int
    axes: tuple[tuple[int, tuple[tuple[int, float], ...]], ...]

    def removed(self, counts: Sequence[int]) -> float:
        """Return the cost of what is removed with ``counts[g]`` units of every group *g*."""
        full = left = float(self.rest)
        for size, owners in self.axes:
            full *= size
            left *= size - sum(counts[g] * width for g, width in owners)
        return self.price * (full - left)


@dataclass(frozen=True)
class Cost:
    """What units cost, as a function of how many are removed from each group.

    Args:
        units: units of each group.
        terms: the priced tensors.
    """

    units: tuple[int, ...]
    terms: tuple[Term, ...]

    @property
    def prunable(self) -> float:
        """What all units of all groups cost together."""
        return self.removed(self.units)

    def removed(self, counts: Sequence[int]) -> float:
        """Return what the removed units cost.

        Args:
            counts: how many units of each group are removed.

        Returns:
            The amount, in the unit of the prices.
        """
        return sum(term.removed(counts) for term in self.terms)

    @property
    def unit_price(self) -> float | None:
        """What one unit costs, where that is the same for every unit of every group.

        ``None`` where it differs, or depends on what else is removed.
        """
        prices: dict[int, float] = {}
        for term in self.terms:
            if len(term.axes) != 1 or len(term.axes[0][1]) != 1:
                return None
            group, width = term.axes[0][1][0]
            prices[group] = prices.get(group, 0.0) + term.price * term.rest * width
        distinct = set(prices.values())
        return distinct.pop() if len(prices) == len(self.units) and len(distinct) == 1 else None


def element_cost(
    groups: Sequence[Group],
    shapes: Mapping[str, torch.Size],
    prices: Mapping[str, float] | None = None,
) -> Cost:
    """Return the cost of units in elements of parameters.

    Args:
        groups: the groups.
        shapes: shape of every parameter, by name.
        prices: what one element of a parameter costs, by name, 0 where missing; ``None`` counts
            every element as 1.

    Returns:
        The cost.
    """
    owners: dict[str, dict[int, list[tuple[int, float]]]] = {}
    for index, group in enumerate(groups):
        for member in group.parameters:
            axes = owners.setdefault(member.axis.tensor, {})
            axes.setdefault(member.axis.dim, []).append((index, member.width))
    terms = []
    for name, axes in owners.items():
        shape = shapes[name]
        sizes = {dim: shape.numel() if dim < 0 else shape[dim] for dim in axes}
        rest = shape.numel() // math.prod(sizes.values())
        price = 1.0 if prices is None else prices.get(name, 0.0)
        terms.append(Term(price, rest, tuple((sizes[dim], tuple(axes[dim])) for dim in axes)))
    return Cost(tuple(group.units for group in groups), tuple(terms))


def unit_cost(groups: Sequence[Group]) -> Cost:
    """Return the cost of units in units: 1 each.

    Args:
        groups: the groups.

    Returns:
        The cost.
    """
    terms = [Term(1.0, 1, ((group.units, ((i, 1),)),)) for i, group in enumerate(groups)]
    return Cost(tuple(group.units for group in groups), tuple(terms))


def cost_of(
    of: Of,
    groups: Sequence[Group],
    shapes: Mapping[str, torch.Size],
    prices: Mapping[str, float] | None,
) -> Cost:
    """Return the cost of units in what ``of`` names.

    Args:
        of: ``"parameters"``, ``"macs"``, ``"units"`` or ``"latency"``.
        groups: the groups.
        shapes: shape of every parameter, by name.
        prices: multiply-adds or ms per element of each weight, needed for ``"macs"`` and
            ``"latency"``.

    Returns:
        The cost.

    Raises:
        ValueError: if prices are needed and missing.
    """
    if of == "units":
        return unit_cost(groups)
    priced = of in {"macs", "latency"}
    if priced and prices is None:
        raise ValueError(
            f"Expected `prices` to be given for `of={of!r}`, but got None. Pass what an element of "
            "each weight costs."
        )
    return element_cost(groups, shapes, prices if priced else None)


def units_to_remove(
    cost: Cost,
    priorities: Sequence[Tensor],
    sparsity: float,
    sizes: Sequence[Tensor] | None = None,
) -> int:
    """Return how many units of the lowest priority to remove.

    Args:
        cost: what units cost.
        priorities: removal priorities of each group's units, each of shape ``[units]``; +inf
            where a unit must stay, -inf where it must be removed.
        sparsity: the fraction of `Cost.prunable` to remove, in [0, 1).
        sizes: where only bundles of units are removed: the bundles' sizes, in the shapes of their
            priorities; the count is then one of bundles.

    Returns:
        The count that comes closest, the lower of two that come equally close.

    Raises:
        TargetError: if the removable units do not cost that much, or nothing costs anything.
    """
    must_go = sum(int((p == -torch.inf).count_nonzero()) for p in priorities)
    may_go = sum(int((p != torch.inf).count_nonzero()) for p in priorities)
    target = sparsity * cost.prunable
    if cost.unit_price is not None and sizes is None:
        check_reachable(cost, sparsity, may_go * cost.unit_price)
        return max(must_go, min(may_go, math.ceil(target / cost.unit_price - 0.5)))
    order = torch.argsort(torch.cat([p.cpu() for p in priorities]), stable=True)
    lengths = torch.tensor([p.numel() for p in priorities])
    owners = torch.arange(len(priorities)).repeat_interleave(lengths)[order]
    weights = None if sizes is None else torch.cat(list(sizes))[order]

    def removed(k: int) -> float:
        chosen = None if weights is None else weights[:k]
        counts = torch.bincount(owners[:k], chosen, minlength=len(priorities))
        return cost.removed([int(count) for count in counts.tolist()])

    check_reachable(cost, sparsity, removed(may_go))
    low, high = 0, may_go  # the first count that removes the target is in (low, high]
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if removed(middle) >= target else (middle, high)
    closest = high if removed(high) - target < target - removed(low) else low
    return max(must_go, closest)


def check_reachable(cost: Cost, sparsity: float, reachable: float) -> None:
    """Refuse a sparsity that is out of reach.

    Args:
        cost: what units cost.
        sparsity: the fraction of `Cost.prunable` to remove, in [0, 1).
        reachable: what the removable units cost.

    Raises:
        TargetError: if it is, or if there is nothing to take a fraction of.
    """
    if cost.prunable <= 0:
        raise TargetError(
            "Expected the prunable units to cost something, but got none that does. Count them "
            "differently (`of`), or let more of the model be pruned (`include`, `exclude`)."
        )
    # A target equal to the maximum may miss it by a rounding error.
    if sparsity * cost.prunable <= reachable * (1 + 1e-9):
        return
    maximum = math.floor(1e4 * reachable / cost.prunable) / 1e4
    raise TargetError(
        f"Expected `sparsity` to be at most {maximum:.4f} here, but got {sparsity}. Every group "
        "keeps at least one unit, and what its bounds say; ask for less, or let more of the model "
        "be pruned."
    )
