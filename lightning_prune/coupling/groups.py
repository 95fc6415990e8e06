"""Groups: from solved components to units, their members and the reasons for what must stay."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray

from lightning_prune.coupling.labels import Ids, Labels
from lightning_prune.coupling.solve import Solution, connect
from lightning_prune.units.group import Axis, Group, Member, Side

_WHOLE = "all positions of an axis live and die together"


@dataclass(frozen=True)
class Frozen:
    """Positions of an axis that cannot be removed.

    Args:
        axis: which dimension of which parameter.
        positions: how many of its positions must stay.
        size: of how many.
        reason: why.
    """

    axis: Axis
    positions: int
    size: int
    reason: str


@dataclass(frozen=True, eq=False)
class _Table:
    """One row per id: the axis it lies on, its position there and its component."""

    axes: list[Axis]
    axis: Ids
    position: Ids
    component: Ids


@dataclass(frozen=True, eq=False)
class _Marks:
    """What rules said of axes (read a unit, only go with it) and of components."""

    reading: NDArray[np.bool_]
    shape: NDArray[np.bool_]
    granular: NDArray[np.bool_]
    constant: NDArray[np.bool_]
    exposed: NDArray[np.bool_]
    apart: NDArray[np.bool_]


def build_groups(
    labels: Labels, solution: Solution
) -> tuple[tuple[Group, ...], tuple[Frozen, ...]]:
    """Return the groups of removable units and what is frozen.

    Args:
        labels: the id space.
        solution: its components.

    Returns:
        The groups in the order of the network, and for every writing axis of a parameter with
        positions that must stay, how many and why.
    """
    table = _tabulate(labels, solution)
    components = len(solution.reason)
    pairs, counts = np.unique(table.axis * components + table.component, return_counts=True)
    pair_axis, pair_component = np.divmod(pairs, components)
    sizes = np.array([labels.sizes[axis] for axis in table.axes], np.int64)
    parameter = np.array([axis.tensor not in labels.buffers for axis in table.axes], bool)

    # A component that is all of an axis cannot go: the axis would be empty.
    whole = np.zeros(components, bool)
    whole[pair_component[counts == sizes[pair_axis]]] = True
    writes = np.zeros(components, bool)
    reading = _spread(labels, labels.marked("read"))
    marks = _Marks(
        _on_axes(labels, table.axes, reading),
        _on_axes(labels, table.axes, _mask(labels.count, labels.marked("shape"))),
        _on_axes(labels, table.axes, _mask(labels.count, labels.marked("granular"))),
        _components(solution, labels.marked("constant"))
        | _components(solution, _read_and_written(labels, reading)),
        _components(solution, labels.marked("exposed")),
        _components(solution, labels.marked("apart")),
    )
    kernel = _on_axes(labels, table.axes, _spread(labels, labels.marked("kernel")))
    written = parameter & ~(marks.reading | marks.shape | kernel)
    writes[pair_component[written[pair_axis]]] = True
    removable = ~solution.frozen & ~whole & writes

    kinds = _kinds(pair_axis, counts, pair_component, removable)
    rows = np.flatnonzero(removable[table.component])
    groups = _collect(labels, table, rows, kinds, marks)
    return groups, _frozen(labels, solution, table, whole, written)


def _tabulate(labels: Labels, solution: Solution) -> _Table:
    axes = list(labels.starts)
    sizes = [labels.sizes[axis] for axis in axes]
    axis = np.repeat(np.arange(len(axes)), sizes)
    position = np.concatenate([np.arange(size) for size in sizes] or [np.zeros(0, np.int64)])
    starts = np.repeat(np.array([labels.starts[axis] for axis in axes], np.int64), sizes)
    return _Table(axes, axis, position, solution.component[starts + position])


def _mask(size: int, chosen: Ids) -> NDArray[np.bool_]:
    """Return ``True`` at some positions, shape ``[size]``."""
    mask = np.zeros(size, bool)
    mask[chosen] = True
    return mask


def _spread(labels: Labels, marked: Ids) -> NDArray[np.bool_]:
    """Tell for every id whether it, or one of the same side of the same weight, is marked."""
    ties = [tie for tie in labels.ties if tie.same_side]
    if not ties:
        return _mask(labels.count, marked)
    side = connect(ties, labels.count)
    return _mask(labels.count, side[marked])[side]


def _on_axes(labels: Labels, axes: list[Axis], mark: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Tell for every axis whether its ids are marked: all of them are, or none."""
    return mark[np.array([labels.starts[axis] for axis in axes], np.int64)]


def _components(solution: Solution, marked: Ids) -> NDArray[np.bool_]:
    """Tell for every component whether one of its ids is marked."""
    return _mask(len(solution.reason), solution.component[marked])


def _read_and_written(labels: Labels, read: NDArray[np.bool_]) -> Ids:
    """Return the ids of axes (of tied weights) that write what they read.

    Such an axis counts as reading, so its units still read as something when all other writers are
    zero.
    """
    return np.flatnonzero(read & _spread(labels, labels.marked("written")))


def _kinds(axis: Ids, count: Ids, component: Ids, chosen: NDArray[np.bool_]) -> Ids:
    """Number the components by kind: those of one kind lie on the same axes, as often on each.

    Args:
        axis: an axis on which a component lies, shape ``[pairs]``, in ascending order.
        count: on how many positions of it.
        component: the component.
        chosen: which components are of interest, shape ``[components]``.

    Returns:
        The kind of every component that was chosen, -1 for others, shape ``[components]``.
    """
    pairs = np.flatnonzero(chosen[component])
    pairs = pairs[np.argsort(component[pairs], kind="stable")]
    owners, starts = np.unique(component[pairs], return_index=True)
    ends = np.append(starts, len(pairs))[1:]
    rows = np.stack([axis[pairs], count[pairs]], 1).astype(np.int64)
    width, memory = rows.shape[1] * rows.itemsize, rows.tobytes()
    numbers: dict[bytes, int] = {}
    kinds = np.full(len(chosen), -1, np.int64)
    kinds[owners] = [
        numbers.setdefault(memory[start * width : end * width], len(numbers))
        for start, end in zip(starts, ends, strict=True)
    ]
    return kinds


def _collect(
    labels: Labels,
    table: _Table,
    rows: Ids,
    kinds: Ids,
    marks: _Marks,
) -> tuple[Group, ...]:
    """Gather the rows of every group; its units come in the order of its first axis."""
    of_row = kinds[table.component[rows]]
    order = np.argsort(of_row, kind="stable")
    starts = np.flatnonzero(np.diff(of_row[order], prepend=-1))
    parts = np.split(rows[order], starts[1:]) if len(rows) else []
    parts.sort(key=lambda part: int(part[0]))
    groups: list[Group] = []
    names: list[str] = []
    for part in parts:
        group = _group(labels, table, part, marks)
        if group.units > 1:
            taken = sum(group.name == name for name in names)
            names.append(group.name)
            groups.append(replace(group, name=f"{group.name} ({taken + 1})") if taken else group)
    return tuple(groups)


def _group(labels: Labels, table: _Table, rows: Ids, marks: _Marks) -> Group:
    components, first, inverse = np.unique(
        table.component[rows], return_index=True, return_inverse=True
    )
    order = np.argsort(first)
    components = components[order]
    units = np.argsort(order)[inverse]
    members, granule = [], 1
    for here in _by_axis(table, rows):
        index = int(table.axis[rows[here[0]]])
        axis = table.axes[index]
        by_unit = here[np.argsort(units[here], kind="stable")]
        positions = table.position[rows[by_unit]].reshape(len(components), -1)
        if marks.granular[index]:
            width = positions.shape[1]
            granule = math.lcm(granule, labels.granule // math.gcd(labels.granule, width))
        buffer, added = axis.tensor in labels.buffers, axis.tensor in labels.added
        only_cut = marks.shape[index] or (buffer and not added)
        side: Side = "shape" if only_cut else "in" if marks.reading[index] else "out"
        size = labels.sizes[axis]
        in_order = np.array_equal(positions, np.arange(size)[:, None])
        own = None if in_order else torch.from_numpy(positions)
        members.append(Member(axis, side, size, own, buffer, added))
    constant = torch.from_numpy(marks.constant[components])
    exposed = torch.from_numpy(marks.exposed[components])
    name = next(m.axis.tensor for m in members if m.side == "out" and not m.buffer)
    return Group(
        name.rpartition(".")[0] or name,
        len(components),
        tuple(members),
        constant if bool(constant.any()) else None,
        exposed if bool(exposed.any()) else None,
        granule,
        bool(marks.apart[components].all()),
    )


def _by_axis(table: _Table, rows: Ids) -> list[Ids]:
    """Return the indices into ``rows``, which ascend, of each axis."""
    starts = np.flatnonzero(np.diff(table.axis[rows])) + 1
    return np.split(np.arange(len(rows)), starts) if len(rows) else []


def _frozen(
    labels: Labels,
    solution: Solution,
    table: _Table,
    whole: NDArray[np.bool_],
    written: NDArray[np.bool_],
) -> tuple[Frozen, ...]:
    stay = np.flatnonzero((solution.frozen | whole)[table.component] & written[table.axis])
    out = []
    for here in _by_axis(table, stay):
        rows = stay[here]
        index = int(table.axis[rows[0]])
        index_of_reason = int(solution.reason[table.component[rows[0]]])
        reason = labels.freezes[index_of_reason].reason if index_of_reason >= 0 else _WHOLE
        out.append(
            Frozen(
                table.axes[index],
                len(rows),
                labels.sizes[table.axes[index]],
                reason,
            )
        )
    return tuple(out)
