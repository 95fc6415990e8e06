"""From what was measured to what a report says."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

from torch import nn

from lightning_prune.compaction import CompactionReport
from lightning_prune.coupling import Coupling, couple
from lightning_prune.export import ExportReport
from lightning_prune.measure import Latency, measure_in_turns
from lightning_prune.measure.backend import Backend
from lightning_prune.modules.inputs import ExampleInputs, examples_of
from lightning_prune.pruning import PruningReport
from lightning_prune.report.content import Change, Form, Goal, Reason, RunReport, Timing, Width
from lightning_prune.report.layers import layers_of, macs_by_layer, ms_by_layer
from lightning_prune.report.machine import machine, versions

_AS_IS: tuple[int | None, ...] = (None,)


@dataclass(frozen=True)
class Sources:
    """What a report is made of; what is None is left out.

    Args:
        before: the model in its full size.
        after: the compact one.
        example_inputs: what both take; of several examples the first is measured.
        pruning: what the masks have reached.
        compaction: what compaction did.
        export: what was exported.
        metrics: figures to list, by key.
        batch_sizes: at which latency is measured; None for the batch of the inputs.
        backends: that are measured.
    """

    before: nn.Module | None = None
    after: nn.Module | None = None
    example_inputs: Any = None
    pruning: PruningReport | None = None
    compaction: CompactionReport | None = None
    export: ExportReport | None = None
    metrics: Mapping[str, float] = field(default_factory=dict)
    batch_sizes: Sequence[int] | None = None
    backends: Sequence[Backend] = ("eager",)


def build_report(title: str, sources: Sources) -> RunReport:
    """Return a report of everything that there is; what cannot be measured is named in it.

    Args:
        title: of the page.
        sources: what there is.
    """
    report = RunReport(title, metrics=dict(sources.metrics), versions=versions(), machine=machine())
    if sources.pruning is not None:
        report = _with_pruning(report, sources.pruning)
    if sources.compaction is not None:
        report = _with_compaction(report, sources.compaction)
    if sources.before is not None:
        report = _with_models(report, sources.before, sources)
    if sources.export is not None:
        report = _with_export(report, sources.export)
    return report


def missing(report: RunReport) -> tuple[str, ...]:
    """Return what a report has no data for, as sentences without a full stop."""
    nothing = {
        "what was asked and reached: nothing was pruned here": report.goals,
        "the model before and after: it was not compacted": report.changes,
        "layers: there was no model to look into": report.layers,
        "latency: no model was run": report.timings,
        "scores: no update of the masks was seen": report.histograms,
        "metrics over the training: none was seen": report.series,
        "accuracy against latency: both must be logged at one step": report.trades,
    }
    return tuple(what for what, found in nothing.items() if not found)


def _with_pruning(report: RunReport, pruning: PruningReport) -> RunReport:
    """Add what the masks reached, and what was left alone."""
    reasons = [Reason("left alone", name, why) for name, why in pruning.left_alone.items()]
    reasons += [
        Reason("at its bound", name, "it may not lose more units") for name in pruning.bound
    ]
    reasons += [Reason("not run", name, "no example runs it") for name in pruning.unused]
    compared = pruning.comparison
    options = {} if compared is None else {"candidates": compared.line()}
    return replace(
        report,
        goals=(Goal("pruning", pruning.of, pruning.target, pruning.sparsity, options),),
        widths=tuple(Width(g.name, g.units, g.kept) for g in pruning.groups),
        reasons=(*report.reasons, *reasons),
    )


def _with_compaction(report: RunReport, compaction: CompactionReport) -> RunReport:
    """Add what compaction removed, and what it refused."""
    masked, compact = compaction.latency_before, compaction.latency_after
    figures: list[tuple[str, Form, float | None, float | None]] = [
        ("parameters", "count", compaction.params_before, compaction.params_after),
        ("MACs", "count", compaction.macs_before, compaction.macs_after),
        ("bytes", "bytes", compaction.bytes_before, compaction.bytes_after),
        ("latency p50", "ms", _p50_ms(masked), _p50_ms(compact)),
    ]
    changes = tuple(
        Change(what, form, before, after, before / after if after else None)
        for what, form, before, after in figures
        if before is not None and after is not None
    )
    listed = {"refused": compaction.refused, "kept constant": compaction.constant}
    reasons = [Reason(what, n, why) for what, found in listed.items() for n, why in found.items()]
    reasons += [Reason("not run", name, "no example runs it") for name in compaction.unused]
    reasons += [Reason("frozen", name, "no step trains it") for name in compaction.frozen]
    notes = [f"Largest error of the compact model: {compaction.max_rel_error:.1e} relative"]
    if compaction.cure:
        notes.append(f"Not faster: {compaction.cure}")
    if not compaction.removed:
        notes.append("Nothing was removed: no unit is exactly zero in all its weights")
    return replace(
        report,
        changes=changes,
        widths=tuple(Width(g.name, g.units, g.kept) for g in compaction.groups),
        timings=(*report.timings, *_timings_of(compaction)),
        reasons=tuple(dict.fromkeys((*report.reasons, *reasons))),
        notes=(*report.notes, *notes),
        unmeasured=(*report.unmeasured, *compaction.unmeasured, *compaction.untried),
    )


def _p50_ms(latency: Latency | None) -> float | None:
    return None if latency is None else latency.p50_ms


def _timings_of(compaction: CompactionReport) -> Iterator[Timing]:
    speedup = compaction.speedup_interval
    if compaction.latency_before is not None:
        yield timing_of("full size", compaction.latency_before)
    if compaction.latency_after is not None:
        timing = timing_of("compact", compaction.latency_after)
        if speedup is not None:
            timing = replace(timing, speedup=speedup.ratio, low=speedup.low, high=speedup.high)
        yield timing


def timing_of(what: str, latency: Latency) -> Timing:
    """Return a latency as a row.

    Args:
        what: the model.
        latency: of it.
    """
    return Timing(
        what,
        latency.backend,
        latency.batch_size,
        latency.device,
        latency.threads,
        latency.p50_ms,
        latency.p95_ms,
    )


def _with_export(report: RunReport, export: ExportReport) -> RunReport:
    """Add the latency in other runtimes, and what could not be exported."""
    timings = [
        Timing("exported", name, export.batch_size, "cpu", export.threads, row.p50_ms, row.p95_ms)
        for name, row in export.rows.items()
        if row.p50_ms is not None and row.p95_ms is not None
    ]
    reasons = [Reason("not exported", name, why) for name, why in export.problems.items()]
    return replace(report, timings=(*report.timings, *timings), reasons=(*report.reasons, *reasons))


def _with_models(report: RunReport, before: nn.Module, sources: Sources) -> RunReport:
    """Add what is counted and measured of the models, and what is frozen."""
    models = [before] if sources.after is None else [before, sources.after]
    layers = layers_of(*models)
    failures: list[str] = []
    if sources.example_inputs is None:
        failures.append("layers and latency: there are no example inputs")
        return replace(report, layers=layers, unmeasured=(*report.unmeasured, *failures))
    inputs = examples_of(sources.example_inputs)[0]
    macs: tuple[Mapping[str, int], ...] = ()
    ms: tuple[Mapping[str, float], ...] = ()
    timings: list[Timing] = []
    reasons: list[Reason] = []
    with _trying("multiply-adds by layer", failures):
        macs = tuple(macs_by_layer(model, inputs) for model in models)
    with _trying("milliseconds by layer", failures):
        ms = tuple(ms_by_layer(models, inputs))
    for backend in sources.backends:
        for batch in sources.batch_sizes or _AS_IS:
            if _is_known(report, backend, batch or inputs.batch_size):
                continue
            with _trying(f"latency by {backend} at batch {batch or inputs.batch_size}", failures):
                timings += _measured(models, inputs, batch, backend)
    with _trying("what is frozen", failures):
        reasons += _frozen(couple(before, sources.example_inputs))
    return replace(
        report,
        layers=layers_of(*models, macs=macs, ms=ms),
        timings=(*report.timings, *timings),
        reasons=tuple(dict.fromkeys((*report.reasons, *reasons))),
        unmeasured=(*report.unmeasured, *failures),
    )


def _is_known(report: RunReport, backend: str, batch_size: int) -> bool:
    """Tell whether compaction has measured this already."""
    known = [(timing.backend, timing.batch_size) for timing in report.timings]
    return (backend, batch_size) in known


def _measured(
    models: Sequence[nn.Module], inputs: ExampleInputs, batch: int | None, backend: Backend
) -> Iterator[Timing]:
    turns = measure_in_turns(models, inputs, batch_size=batch, backend=backend, max_seconds=1.0)
    yield timing_of("full size", turns.latencies[0])
    if len(models) > 1:
        speedup = turns.speedup()
        yield replace(
            timing_of("compact", turns.latencies[1]),
            speedup=speedup.ratio,
            low=speedup.low,
            high=speedup.high,
        )


def _frozen(coupling: Coupling) -> Iterator[Reason]:
    for one in coupling.frozen:
        share = f"{one.positions} of {one.size} positions: " if one.positions < one.size else ""
        yield Reason("frozen", str(one.axis), share + one.reason)


@contextmanager
def _trying(what: str, failures: list[str]) -> Iterator[None]:
    """Turn whatever is raised within into a sentence."""
    try:
        yield
    except Exception as error:  # whatever a model's own code raises, or no memory
        failures.append(f"{what}: {type(error).__name__}: {error}")
