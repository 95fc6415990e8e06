"""Plan: what becomes of a model, decided before anything is touched.

A plan is data: it can be printed, compared, joined, written to a file and tested without a model.
Every stage of a compaction emits one, and surgery alone applies it. A plan of removal never empties
an axis: of a group whose units are all dead, the first one stays.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple, TypeVar

import torch
from torch import Tensor
from typing_extensions import override

from lightning_prune.compaction.rewriting import Edit, joined
from lightning_prune.display.tables import format_table
from lightning_prune.runtime.swaps import Swap
from lightning_prune.units.group import Axis, Group, GroupCount

Size = int | tuple[int, ...]
_Key = TypeVar("_Key")
_Value = TypeVar("_Value")


@dataclass(frozen=True)
class Cut:
    """What stays along one axis.

    Args:
        kept: positions that stay, ascending.
        size: how many positions there were.
    """

    kept: tuple[int, ...]
    size: int

    def then(self, later: Cut) -> Cut:
        """Return one cut for this one and a later one of what it leaves."""
        return Cut(tuple(self.kept[position] for position in later.kept), self.size)


class Attribute(NamedTuple):
    """An attribute of a module, by the module's name."""

    module: str
    name: str


@dataclass(frozen=True)
class SizeChange:
    """A size in an attribute: what it is before, and after."""

    before: Size
    after: Size

    def then(self, later: SizeChange) -> SizeChange:
        """Return one change for this one and a later one."""
        return SizeChange(self.before, later.after)


@dataclass(frozen=True)
class Plan:
    """What becomes of a model.

    Args:
        axes: what stays along each axis that shrinks.
        attributes: sizes in attributes that follow no tensor of their own module. Those that
            torch's layers repeat follow from their tensors, and are not listed.
        swaps: by module, the layer of ours that it becomes.
        edits: by module, the corrections of calls in its source.
        frozen: parameters that ask for no gradient any more.
        methods: of the model, other than ``forward``, that are called from outside.
        values: tensors that take other values of the same shape.
        groups: what happens to each group, in the order of the network.
    """

    axes: Mapping[Axis, Cut] = field(default_factory=dict)
    attributes: Mapping[Attribute, SizeChange] = field(default_factory=dict)
    swaps: Mapping[str, Swap] = field(default_factory=dict)
    edits: Mapping[str, tuple[Edit, ...]] = field(default_factory=dict)
    frozen: tuple[str, ...] = ()
    methods: tuple[str, ...] = ()
    values: Mapping[str, Tensor] = field(default_factory=dict, compare=False)
    groups: tuple[GroupCount, ...] = ()

    @property
    def removed(self) -> int:
        """Units that go."""
        return sum(group.removed for group in self.groups)

    @property
    def kept(self) -> dict[Axis, Tensor]:
        """Positions that stay along each axis that shrinks, as tensors."""
        return {axis: torch.tensor(cut.kept, dtype=torch.long) for axis, cut in self.axes.items()}

    @property
    def emptied(self) -> tuple[str, ...]:
        """Tensors of which nothing stays."""
        return tuple(dict.fromkeys(axis.tensor for axis, cut in self.axes.items() if not cut.kept))

    def then(self, later: Plan) -> Plan:
        """Return one plan for this one and a later one of the model that it leaves.

        Raises:
            RewriteError: if one call needs two corrections that do not go together.
        """
        return Plan(
            _merged(self.axes, later.axes, Cut.then),
            _merged(self.attributes, later.attributes, SizeChange.then),
            _merged(self.swaps, later.swaps, lambda _, swap: swap),
            _merged(self.edits, later.edits, joined),
            tuple(dict.fromkeys((*self.frozen, *later.frozen))),
            tuple(dict.fromkeys((*self.methods, *later.methods))),
            {**self.values, **later.values},
            (*self.groups, *later.groups),
        )

    def below(self, module: str) -> Plan:
        """Return this plan with every name below a module; values and groups are left out."""
        start = f"{module}." if module else ""

        def inside(name: str) -> str:
            return f"{start}{name}" if name else module

        return Plan(
            {Axis(start + axis.tensor, axis.dim): cut for axis, cut in self.axes.items()},
            {Attribute(inside(a.module), a.name): c for a, c in self.attributes.items()},
            {inside(name): swap for name, swap in self.swaps.items()},
            {inside(name): edits for name, edits in self.edits.items()},
            tuple(start + name for name in self.frozen),
            () if module else self.methods,
        )

    def __deepcopy__(self, memo: Any) -> Plan:
        return self

    @override
    def __str__(self) -> str:
        rows = [[str(axis), f"{len(cut.kept)} of {cut.size}"] for axis, cut in self.axes.items()]
        rows += [
            [".".join(filter(None, attribute)), f"{change.after} instead of {change.before}"]
            for attribute, change in self.attributes.items()
        ]
        rows += [[name or "the model", str(swap)] for name, swap in self.swaps.items()]
        rows += [
            [f"{name}.{edit.method}".lstrip("."), f"{edit.where}: {edit.correction}"]
            for name, edits in self.edits.items()
            for edit in edits
        ]
        rows += [[name, "asks for no gradient"] for name in self.frozen]
        rows += [[name, "takes up constants"] for name in self.values]
        return format_table(["what", "becomes"], rows)


def _merged(
    first: Mapping[_Key, _Value],
    later: Mapping[_Key, _Value],
    join: Callable[[_Value, _Value], _Value],
) -> dict[_Key, _Value]:
    found = dict(first)
    for key, value in later.items():
        found[key] = join(found[key], value) if key in found else value
    return found


def plan_removal(groups: Sequence[Group], dead: Sequence[Tensor]) -> Plan:
    """Plan the removal of dead units.

    Args:
        groups: coupled units.
        dead: for each group, ``True`` where a unit may go, shape ``[units]``.

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
    axes = {
        axis: Cut(tuple((~marks).nonzero().flatten().tolist()), len(marks))
        for axis, marks in gone.items()
    }
    return Plan(axes, groups=tuple(counts))


def plan_emptying(shapes: Mapping[str, torch.Size], names: Iterable[str]) -> Plan:
    """Plan to leave nothing of some tensors.

    Args:
        shapes: of every tensor, by name.
        names: of those to empty. A single number has no size that it could lose: it is frozen.

    Returns:
        Their first axes, without any position.
    """
    plan = Plan()
    for name in names:
        shape = shapes[name]
        if shape:
            plan = replace(plan, axes={**plan.axes, Axis(name, 0): Cut((), shape[0])})
        else:
            plan = replace(plan, frozen=(*plan.frozen, name))
    return plan
