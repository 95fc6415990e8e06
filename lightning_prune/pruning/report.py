"""The report of a mask update."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from torch import Tensor
from typing_extensions import override

from lightning_prune.display.tables import format_table
from lightning_prune.units.group import Group, GroupCount


@dataclass(frozen=True)
class PruningReport:
    """What a mask update has reached.

    Args:
        target: sparsity asked for, in [0, 1).
        sparsity: sparsity reached, in [0, 1).
        of: of what both are fractions: ``"parameters"``, ``"macs"`` or ``"units"``.
        groups: what is kept of each group.
        left_alone: why other groups were not pruned, by name.
        bound: names of the groups that may not lose more.
        unused: parameters that no example runs; what they may read stays, if it is not allowed.
    """

    target: float
    sparsity: float
    of: str
    groups: tuple[GroupCount, ...]
    left_alone: dict[str, str] = field(default_factory=dict)
    bound: tuple[str, ...] = ()
    unused: tuple[str, ...] = ()

    def summary(self) -> str:
        """Return what is reached, and why groups were left alone, without the table."""
        by_reason: dict[str, list[str]] = {}
        for name, reason in self.left_alone.items():
            by_reason.setdefault(reason, []).append(name)
        head = f"sparsity {self.sparsity:.4f} of {self.of} (target {self.target:.4f})"
        parts = [f"left alone, {why}: {', '.join(names)}" for why, names in by_reason.items()]
        if self.bound:
            parts.append(f"at the bound of what they may lose: {', '.join(self.bound)}")
        if self.unused:
            parts.append(f"not run by the example inputs: {', '.join(self.unused)}")
        return "\n".join([head, *parts])

    @override
    def __str__(self) -> str:
        head, *left_alone = self.summary().splitlines()
        rows = [
            [g.name, str(g.kept), str(g.units), f"{g.removed / g.units:.4f}"] for g in self.groups
        ]
        table = format_table(["group", "kept", "units", "sparsity"], rows)
        return "\n".join([head, table, *left_alone])


def report_of(
    report: PruningReport,
    groups: Sequence[Group],
    unit_masks: Sequence[Tensor],
    floors: Sequence[int],
) -> PruningReport:
    """Return a report with the counts of the groups.

    Args:
        report: the rest of it.
        groups: the groups.
        unit_masks: for each group a boolean tensor of shape ``[units]``, ``True`` = kept.
        floors: how many units each group keeps at least.

    Returns:
        The report; groups that have reached their floor, of at least one unit, are named in it.
    """
    pairs = zip(groups, unit_masks, strict=True)
    counts = tuple(GroupCount(g.name, g.units, int((~mask).count_nonzero())) for g, mask in pairs)
    bound = tuple(
        count.name
        for count, floor in zip(counts, floors, strict=True)
        if count.removed and 0 < count.kept <= floor
    )
    return replace(report, groups=counts, bound=bound)
