"""Scores: from scores of weights to scores of units, and from those to comparable ones.

Pure functions of groups and tensors. How the members of a unit are reduced to one number, and how
groups are made comparable, are choices with a default: the **sum** over every weight that a unit
owns, divided by the **mean** of its group.
"""

from __future__ import annotations

from collections.abc import Container, Mapping
from typing import Literal

import torch
from torch import Tensor

from lightning_prune.modules.shards import whole
from lightning_prune.units.group import Axis, Group, Member, Side

Reduce = Literal["sum", "mean", "max", "l2"]
Normalize = Literal["mean", "max", "none"]
Sides = Literal["both", "out", "in"]


def unit_scores(
    group: Group, scores: Mapping[str, Tensor], reduce: Reduce = "sum", sides: Sides = "both"
) -> Tensor:
    """Reduce the scores of weights to scores of units.

    Args:
        group: the units.
        scores: scores of the elements of tensors, by name; a parameter that is missing counts
            nothing.
        reduce: ``"sum"``, ``"mean"`` or ``"max"`` of all elements that a unit owns, or ``"l2"``,
            the root of the sum of their squares.
        sides: which members count: those that write the unit (``"out"``), that read it (``"in"``),
            or both.

    Returns:
        A score for each unit, shape ``[units]``; zeros where nothing counts.
    """
    members = scored_members(group, scores, sides)
    if reduce == "max" and members:
        parts = [(m, _max_along(scores[m.axis.tensor], m.axis.dim)) for m in members]
        maxima = [m.gather(line, -torch.inf).amax(1) for m, line in parts]
        return torch.stack(maxima).amax(0)
    if reduce == "l2":
        scores = {m.axis.tensor: scores[m.axis.tensor].square() for m in members}
    lines = {m.axis: sum_along(scores[m.axis.tensor], m.axis.dim) for m in members}
    shapes = {m.axis.tensor: scores[m.axis.tensor].shape for m in members}
    total = unit_sums(group, lines, shapes, mean=reduce == "mean", sides=sides)
    return total.sqrt() if reduce == "l2" else total


def unit_sums(
    group: Group,
    lines: Mapping[Axis, Tensor],
    shapes: Mapping[str, torch.Size],
    *,
    mean: bool = False,
    sides: Sides = "both",
) -> Tensor:
    """Add up, for each unit, the scores of its weights, which are summed along axes already.

    Args:
        group: the units.
        lines: by axis the sum over all other dimensions, shape ``[positions]``; an axis that is
            missing counts nothing.
        shapes: of the tensors, by name.
        mean: divide by the number of weights that a unit owns.
        sides: which members count.

    Returns:
        A score for each unit, shape ``[units]``; zeros where nothing counts.
    """
    members = [m for m in _members(group, sides) if m.axis in lines]
    if not members:
        return torch.zeros(group.units)
    total = sum_of([_of_units(m, lines[m.axis]) for m in members])
    if not mean:
        return total
    elements = sum(
        m.width * (1 if m.axis.dim < 0 else shapes[m.axis.tensor].numel() // m.size)
        for m in members
    )
    return total / elements


def unit_rows(group: Group, values: Mapping[str, Tensor], sides: Sides = "both") -> list[Tensor]:
    """Return what every unit owns, a row for each.

    Args:
        group: the units.
        values: of the elements of tensors, by name; a parameter that is missing is left out.
        sides: which members count.

    Returns:
        Tensors of shape ``[units, elements]``: one for each member, or for those members together
        of which each unit owns one, in their order.
    """
    rows = []
    owned: dict[int, list[Tensor]] = {}
    for member in scored_members(group, values, sides):
        tensor = values[member.axis.tensor]
        flat = tensor.flatten() if member.axis.dim < 0 else tensor.movedim(member.axis.dim, 0)
        if member.owner is not None:
            owned.setdefault(member.owner[0], []).append(flat.flatten())
        else:
            rows.append(member.gather(flat.reshape(member.size, -1)).flatten(1))
    return rows + [torch.stack(parts) for parts in zip(*owned.values(), strict=True)]


def comparable_scores(
    group: Group, scores: Tensor, dead: Tensor, normalize: Normalize = "mean"
) -> Tensor:
    """Make the unit scores of one group comparable with those of others.

    Single weights compare as they are. Units of many weights are compared to the average unit of
    their group; otherwise hardly any unit of a wide layer, which owns more weights, would be
    removed, and most units of a narrow one. Removed units count as zero in the average: if they
    were left out, those that remain would look as dispensable as the whole group did, and update
    by update the groups whose units differ most would lose nearly all of them.

    Args:
        group: the units.
        scores: their scores, shape ``[units]``.
        dead: where a unit is removed already, shape ``[units]``.
        normalize: divide by the mean or by the maximum of the absolute scores, in which removed
            units count as zero, or by nothing.

    Returns:
        Scores of shape ``[units]``.
    """
    if group.single_weights or normalize == "none":
        return scores
    living = scores.abs().masked_fill(dead.to(scores.device), 0)
    if not bool((living > 0).any()):
        return scores
    return scores / (living.mean() if normalize == "mean" else living.amax())


def scored_members(group: Group, names: Container[str], sides: Sides) -> list[Member]:
    """Return the members whose scores count: those on tensors of these names."""
    return [m for m in _members(group, sides) if m.axis.tensor in names]


def sum_of(tensors: list[Tensor]) -> Tensor:
    """Return the sum of tensors of one shape."""
    total = tensors[0]
    for tensor in tensors[1:]:
        total = total + tensor
    return total


def sum_along(tensor: Tensor, dim: int) -> Tensor:
    """Sum over all dimensions but ``dim``, shape ``[size]``; flatten if ``dim`` is -1."""
    others = [d for d in range(tensor.dim()) if d != dim]
    return tensor.flatten() if dim < 0 else whole(tensor.sum(others) if others else tensor)


def _members(group: Group, sides: Sides) -> list[Member]:
    """Return the members on parameters whose side counts."""
    allowed: set[Side] = {"out", "in"} if sides == "both" else {sides}
    return [m for m in group.parameters if m.side in allowed]


def _of_units(member: Member, line: Tensor) -> Tensor:
    """Return the sum of what each unit owns of a line."""
    alone = member.owner is None and member.positions is None
    return line if alone else member.gather(line).sum(1)


def _max_along(tensor: Tensor, dim: int) -> Tensor:
    """Return the maximum over all dimensions but ``dim``; flatten if it is -1."""
    others = [d for d in range(tensor.dim()) if d != dim]
    return tensor.flatten() if dim < 0 else whole(tensor.amax(others) if others else tensor)
