"""The report of a mask update."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from typing_extensions import override

from lightning_prune.display.tables import format_count, format_table
from lightning_prune.display.widths import clip, terminal_width, wrap_all
from lightning_prune.measure import Speedup
from lightning_prune.pruning.comparing.comparison import Comparison
from lightning_prune.pruning.compensating.compensate import Compensated
from lightning_prune.pruning.masks import Masks
from lightning_prune.pruning.prunable import Prunable
from lightning_prune.units.cost import element_cost
from lightning_prune.units.group import GroupCount

_LEAST_NAME = 8


@dataclass(frozen=True)
class PruningReport:
    """What a mask update has reached, or would reach; prints as a table.

    Args:
        target: sparsity asked for, in [0, 1).
        sparsity: sparsity reached, in [0, 1).
        of: of what both are fractions: ``"parameters"``, ``"macs"``, ``"units"`` or ``"latency"``.
        groups: what is kept of each group.
        left_alone: why other groups were not pruned, by name.
        bound: names of the groups that may not lose more.
        unused: parameters that no example runs; what they may read stays, if it is not allowed.
        params_before: elements of all parameters of the model.
        params_after: those that compaction leaves; single weights it does not remove.
        macs_left: fraction of the multiply-adds with weights that compaction leaves, in [0, 1];
            ``None`` where these are not known, or nothing is removed by compaction.
        macs_before: multiply-adds of one run of the examples, ``None`` where they are not counted.
        speedup: of the compact model, as measured for a target of latency on an unverified copy;
            ``None`` for other targets.
        compensated: what a compensation has done, ``None`` without one.
        comparison: of the candidates of `Auto`, ``None`` without them.
    """

    target: float
    sparsity: float
    of: str
    groups: tuple[GroupCount, ...]
    left_alone: dict[str, str] = field(default_factory=dict)
    bound: tuple[str, ...] = ()
    unused: tuple[str, ...] = ()
    params_before: int = 0
    params_after: int = 0
    macs_left: float | None = None
    macs_before: int | None = None
    speedup: Speedup | None = None
    compensated: Compensated | None = None
    comparison: Comparison | None = None

    @property
    def macs_after(self) -> int | None:
        """Multiply-adds that compaction leaves of `macs_before`, in proportion to the weights'."""
        if self.macs_before is None:
            return None
        return round(self.macs_before * (1.0 if self.macs_left is None else self.macs_left))

    def line(self, width: int) -> str:
        """Return what was asked and reached, what it leaves, and the group cut most.

        Args:
            width: of the line, in characters; the name of the group is cut, or left out, to fit.
        """
        parts = [f"asked {self.target:.3f}, got {self.sparsity:.3f}"]
        most = max(self.groups, key=lambda group: group.removed / group.units)
        if not most.removed:
            return parts[0]
        if self.params_after < self.params_before:
            macs = "" if self.macs_left is None else f", {self.macs_left:.0%} MACs"
            parts.append(f"leaves {format_count(self.params_after)} params{macs}")
        head = "; ".join([*parts, "most cut: "])
        tail = f" {most.removed / most.units:.0%}"
        room = width - len(head) - len(tail)
        return "; ".join(parts) if room < _LEAST_NAME else head + clip(most.name, room) + tail

    def notes(self) -> list[str]:
        """Return why groups were left alone, and which may not lose more, a line for each."""
        by_reason: dict[str, list[str]] = {}
        for name, reason in self.left_alone.items():
            by_reason.setdefault(reason, []).append(name)
        notes = [f"left alone, {why}: {', '.join(names)}" for why, names in by_reason.items()]
        if self.bound:
            notes.append(f"at the bound of what they may lose: {', '.join(self.bound)}")
        if self.comparison is not None:
            notes.append(self.comparison.line())
        return notes if self.compensated is None else notes + self.compensated.notes()

    def summary(self) -> str:
        """Return what is reached, what compaction leaves and the notes, without the table."""
        notes = [*self._left(), *self._measured(), *self.notes()]
        if self.unused:
            notes.append(f"not run by the example inputs: {', '.join(self.unused)}")
        head = f"sparsity {self.sparsity:.4f} of {self.of} (target {self.target:.4f})"
        return wrap_all([head, *notes], terminal_width())

    @override
    def __str__(self) -> str:
        head, *notes = self.summary().splitlines()
        rows = [
            [g.name, str(g.units), str(g.kept), f"{g.removed / g.units:.1%}"] for g in self.groups
        ]
        table = format_table(["group", "units", "kept", "removed"], rows)
        compared = [] if self.comparison is None else [str(self.comparison)]
        return "\n".join([head, table, *notes, *compared])

    def _measured(self) -> list[str]:
        """Return the measured speed-up, as a line, if there is one."""
        return [] if self.speedup is None else [f"the compact copy measures {self.speedup} x"]

    def _left(self) -> list[str]:
        """Return what compaction leaves, as a line, if that is less than there is."""
        if self.params_after == self.params_before:
            return []
        left = _of_before("parameters", self.params_after, self.params_before)
        if self.macs_after is not None and self.macs_before:
            left += " and " + _of_before("MACs", self.macs_after, self.macs_before)
        elif self.macs_left is not None:
            left += f" and {self.macs_left:.1%} of the MACs"
        return [f"compaction leaves {left}"]


def _of_before(what: str, after: float, before: float) -> str:
    return f"{format_count(after)} of {format_count(before)} {what} ({after / before:.1%})"


def report_of(
    target: float,
    sparsity: float,
    of: str,
    masks: Masks,
    prunable: Prunable,
    floors: Sequence[int],
) -> PruningReport:
    """Return the report of an update.

    Args:
        target: sparsity asked for.
        sparsity: sparsity reached.
        of: of what both are fractions.
        masks: what is kept.
        prunable: what there was to prune.
        floors: how many units each group keeps at least.

    Returns:
        The report; groups that have reached their floor, of at least one unit, are named in it.
    """
    triples = zip(masks.groups, masks.removed, floors, strict=True)
    counts = [(GroupCount(g.name, g.units, removed), floor) for g, removed, floor in triples]
    elements = element_cost(masks.groups, masks.shapes)
    single = any(group.single_weights for group in masks.groups)
    removed = 0 if single else round(elements.removed(masks.removed))
    macs_left = None if single else _macs_left(masks, prunable)
    return PruningReport(
        target,
        sparsity,
        of,
        tuple(count for count, _ in counts),
        dict(prunable.left_alone),
        tuple(count.name for count, floor in counts if count.removed and 0 < count.kept <= floor),
        prunable.unused,
        prunable.parameters,
        prunable.parameters - removed,
        macs_left,
    )


def _macs_left(masks: Masks, prunable: Prunable) -> float | None:
    """Return the fraction of the multiply-adds with weights that compaction leaves, if known."""
    if not prunable.macs:
        return None
    cost = element_cost(masks.groups, masks.shapes, prunable.prices)
    return 1 - cost.removed(masks.removed) / prunable.macs
