"""What is printed of a coupling: short, within the width of the terminal, or in full."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from lightning_prune.coupling.groups import Frozen
from lightning_prune.coupling.unused import parts_of
from lightning_prune.display.tables import format_table
from lightning_prune.display.widths import clip, join_names, wrap
from lightning_prune.units.cost import element_cost
from lightning_prune.units.group import Axis, Group

if TYPE_CHECKING:
    from lightning_prune.coupling.couple import Coupling

_NUMBERS = 36  # columns of units, parameters (of up to 14 digits and commas) and members, and gaps
_LEAST_WRITERS = 15
_MOST_LINES = 3  # of one reason


def shorten(coupling: Coupling, width: int) -> str:
    """Return one line for each group, and what is frozen in one paragraph for each reason.

    Args:
        coupling: what to print.
        width: characters that a line may have, at least 60.

    Returns:
        The text; names, lists and reasons that are too long have an ellipsis. Where operations of
        one kind freeze for one reason, the first of them is named.
    """
    longest = max((len(group.name) for group in coupling.groups), default=0)
    name = min(longest, width - _NUMBERS - _LEAST_WRITERS)
    rows = [
        [
            clip(group.name, name),
            str(group.units),
            _prunable(coupling, group),
            str(len(group.parameters)),
            join_names(_other_writers(group), width - _NUMBERS - name),
        ]
        for group in coupling.groups
    ]
    header = ["group", "units", "parameters", "members", "also written by"]
    parts = [_head(coupling), format_table(header, rows)]
    if branches := [branch.name for branch in coupling.structure.branches]:
        title = f"{len(branches)} residual branches, which Layer() removes whole: "
        parts.append(title + join_names(branches, width - len(title)))
    if mixtures := [mixture.name for mixture in coupling.structure.mixtures]:
        title = f"{len(mixtures)} mixtures, of which Expert() removes experts: "
        parts.append(title + join_names(mixtures, width - len(title)))
    notes = [*_reasons(coupling.frozen, width // 2)]
    if coupling.unused:
        notes.append(_not_run(coupling))
    if notes:
        parts.append("\n".join(wrap(note, width, _MOST_LINES) for note in notes))
    parts.append("`.details()` names every member, branch and frozen axis.")
    return "\n\n".join(parts)


def spell_out(coupling: Coupling) -> str:
    """Return every member of every group, every branch and every frozen axis, however long."""
    rows = [
        [
            group.name,
            str(group.units),
            _prunable(coupling, group),
            ", ".join(f"{'reads ' if m.side == 'in' else ''}{m.axis}" for m in group.parameters),
        ]
        for group in coupling.groups
    ]
    tables = [_head(coupling), format_table(["group", "units", "parameters", "ties"], rows)]
    if branches := coupling.structure.branches:
        rows = [[branch.name, _prunable(coupling, branch)] for branch in branches]
        tables.append(format_table(["branch", "parameters"], rows))
    if mixtures := coupling.structure.mixtures:
        rows = [[one.name, str(one.units), _prunable(coupling, one)] for one in mixtures]
        tables.append(format_table(["mixture", "experts", "parameters"], rows))
    if coupling.frozen:
        rows = [
            [str(one.axis), f"{one.positions} of {one.size}", one.reason] for one in coupling.frozen
        ]
        tables.append(format_table(["frozen", "positions", "reason"], rows))
    if coupling.unused:
        tables.append(_not_run(coupling))
    return "\n\n".join(tables)


def _head(coupling: Coupling) -> str:
    total = sum(shape.numel() for shape in coupling.shapes.values())
    share = coupling.prunable / total if total else 0.0
    return f"{coupling.prunable:,} of {total:,} parameters can be pruned ({share:.1%})"


def _prunable(coupling: Coupling, group: Group) -> str:
    return f"{element_cost([group], coupling.shapes).prunable:,.0f}"


def _other_writers(group: Group) -> list[str]:
    """Return the modules that write the units beside the one that the group is named after."""
    owners = [_owner(m.axis) for m in group.parameters if m.side == "out"]
    return [owner for owner in dict.fromkeys(owners) if owner != group.name]


def _owner(axis: Axis) -> str:
    """Return the module that holds a parameter, or the parameter's name where that is the model."""
    return axis.tensor.rpartition(".")[0] or axis.tensor


def _reasons(frozen: Sequence[Frozen], width: int) -> Iterator[str]:
    """Yield a note for each reason, with the modules in up to ``width`` characters."""
    alike: dict[str, list[Frozen]] = defaultdict(list)
    for one in frozen:
        alike[one.reason.partition(" (aten::")[0]].append(one)
    for ones in alike.values():
        owners = list(dict.fromkeys(_owner(one.axis) for one in ones))
        yield f"frozen: {join_names(owners, width)}: {ones[0].reason}"


def _not_run(coupling: Coupling) -> str:
    return "not run: " + ", ".join(parts_of(coupling.unused, coupling.shapes))
