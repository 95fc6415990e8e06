"""The report of a compaction: what went, what it saved, what it cost in exactness."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from typing_extensions import override

from lightning_prune.compaction.plan import Plan
from lightning_prune.display.plots import draw_bars, require_axes
from lightning_prune.display.tables import format_bytes, format_count, format_table
from lightning_prune.display.widths import join_names, terminal_width, wrap_all
from lightning_prune.measure.latency import Latency
from lightning_prune.measure.speedup import Speedup
from lightning_prune.units.group import GroupCount

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_FASTER = 1.05
_NAMES = 40  # characters of a list of names


@dataclass(frozen=True)
class CompactionReport:
    """What a compaction did; prints as a table.

    Args:
        params_before: parameters of the masked model.
        params_after: parameters of the compact model.
        macs_before: multiply-adds of one run of every example, masked; None if not counted.
        macs_after: the same, compact.
        bytes_before: size of the masked model's tensors.
        bytes_after: size of the compact model's tensors.
        max_abs_error: largest absolute difference of the outputs, in float32, after any stage.
        max_rel_error: the same over the largest absolute output.
        groups: units and removed units of every group.
        refused: groups that were left as they were, with the reason.
        constant: groups with units that nothing writes, but that read as a constant which could
            not be folded into their readers, with the reason.
        unused: parameters that no example runs; what they may read stays, if it is not allowed.
        tried: in what arithmetic and modes, and on what inputs, the models were compared.
        untried: in or on what they were not, with the reason.
        plan: what became of the model; prints as a table of its own.
        unmeasured: what could not be measured, with the reason.
        frozen: modules, or single parameters, of the compact model that no step trains; empty where
            nothing is trained at all.
        params_frozen: their parameters, which `params_before` and `params_after` count as well.
        latency_before: of the masked model, measured in turns with the compact one.
        latency_after: of the compact model.
        speedup_interval: the ratio of these with its confidence interval.
        cure: why the compact model is not faster, and what would help; empty if it is.
    """

    params_before: int
    params_after: int
    macs_before: int | None
    macs_after: int | None
    bytes_before: int
    bytes_after: int
    max_abs_error: float
    max_rel_error: float
    groups: tuple[GroupCount, ...]
    refused: Mapping[str, str] = field(default_factory=dict)
    constant: Mapping[str, str] = field(default_factory=dict)
    unused: tuple[str, ...] = ()
    tried: tuple[str, ...] = ()
    untried: tuple[str, ...] = ()
    plan: Plan = field(default_factory=Plan)
    unmeasured: tuple[str, ...] = ()
    frozen: tuple[str, ...] = ()
    params_frozen: int = 0
    latency_before: Latency | None = None
    latency_after: Latency | None = None
    speedup_interval: Speedup | None = None
    cure: str = ""

    @property
    def removed(self) -> int:
        """Units that were removed."""
        return sum(group.removed for group in self.groups)

    @property
    def speedup(self) -> float | None:
        """Ratio of the p50 latencies, measured in turns; None when they were not measured."""
        before, after = self.latency_before, self.latency_after
        if before is None or after is None:
            return None
        return before.p50_ms / after.p50_ms

    @property
    def is_faster(self) -> bool:
        """Whether the compact model is faster by 5% and more than the noise can explain."""
        interval = self.speedup_interval
        return (self.speedup or 0.0) >= _FASTER and (interval is None or interval.low > 1)

    def metrics(self) -> dict[str, float]:
        """Return the figures under their metric keys, as they are logged."""
        values = {
            "compaction/params_before": float(self.params_before),
            "compaction/params_after": float(self.params_after),
            "compaction/bytes_before": float(self.bytes_before),
            "compaction/bytes_after": float(self.bytes_after),
            "compaction/max_abs_error": self.max_abs_error,
            "compaction/max_rel_error": self.max_rel_error,
        }
        for when, macs in (("before", self.macs_before), ("after", self.macs_after)):
            if macs is not None:
                values[f"compaction/macs_{when}"] = float(macs)
        for when, latency in (("before", self.latency_before), ("after", self.latency_after)):
            if latency is not None:
                values[f"compaction/latency_{when}_p50_ms"] = latency.p50_ms
                values[f"compaction/latency_{when}_p95_ms"] = latency.p95_ms
        if self.speedup is not None:
            values["compaction/speedup"] = self.speedup
        return values

    def plot(self, axes: Axes | None = None) -> Axes:
        """Draw the units of every group, before and after; needs matplotlib.

        Args:
            axes: where to draw; a new figure if ``None``.

        Returns:
            The axes drawn on.

        Raises:
            ImportError: if matplotlib is missing.
        """
        axes = require_axes(axes, len(self.groups))
        names = [group.name for group in self.groups]
        before = [group.units for group in self.groups]
        draw_bars(axes, names, before, [group.kept for group in self.groups], label="units")
        return axes

    @override
    def __str__(self) -> str:
        rows = [
            _row("parameters", self.params_before, self.params_after, format_count),
            _row("bytes", self.bytes_before, self.bytes_after, format_bytes),
        ]
        if self.macs_before is not None and self.macs_after is not None:
            rows.insert(1, _row("MACs", self.macs_before, self.macs_after, format_count))
        before, after = self.latency_before, self.latency_after
        if before is not None and after is not None:
            rows.append(_row("latency p50", before.p50_ms, after.p50_ms, _milliseconds))
            rows.append(_row("latency p95", before.p95_ms, after.p95_ms, _milliseconds))
        table = format_table(["", "before", "after", "ratio"], rows)
        return f"{table}\n{wrap_all(self._notes(), terminal_width())}"

    def _notes(self) -> list[str]:
        units = sum(group.units for group in self.groups)
        notes = [
            f"{self.removed} of {units} units removed in {len(self.groups)} groups; "
            f"largest error {self.max_abs_error:.1e} absolute, {self.max_rel_error:.1e} relative"
        ]
        if self.latency_after is not None:
            notes.append(
                f"latency at batch {self.latency_after.batch_size} on {self.latency_after.device}, "
                f"{self.latency_after.dtype}, threads: {self.latency_after.threads}"
            )
        if self.frozen:
            count, names = format_count(self.params_frozen), join_names(self.frozen, _NAMES)
            notes.append(f"{count} of the parameters are frozen, and counted as well: {names}")
        if self.speedup is not None:
            verdict = "" if self.is_faster else "NOT FASTER: "
            speedup = self.speedup_interval or f"{self.speedup:.2f}"
            cure = f"; {self.cure}" if self.cure else ""
            notes.append(f"{verdict}speed-up {speedup}, measured in turns{cure}")
        if not self.removed:
            notes.append("NOTHING WAS REMOVED: no unit is exactly zero in all its weights")
        notes += [f"left as it was: {name}: {reason}" for name, reason in self.refused.items()]
        notes += [f"kept constant: {name}: {reason}" for name, reason in self.constant.items()]
        if self.unused:
            notes.append(f"not run by the example inputs: {', '.join(self.unused)}")
        if self.tried:
            notes.append("compared: " + "; ".join(self.tried))
        notes += [f"not compared: {what}" for what in self.untried]
        notes += [f"not measured: {what}" for what in self.unmeasured]
        return notes


def _milliseconds(value: float) -> str:
    return f"{value:.2f} ms"


def _row(name: str, before: float, after: float, form: Callable[[Any], str]) -> list[str]:
    ratio = f"{before / after:.2f}x" if after else "-"
    return [name, form(before), form(after), ratio]
