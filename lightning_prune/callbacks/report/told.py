"""What a report is told by the other callbacks, of which it knows only their public attributes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any, Protocol, TypeVar, runtime_checkable

from lightning_prune.measure import Latency
from lightning_prune.pruning import BasePruner, PruningReport, Recipe
from lightning_prune.pruning.scorer import every_nth
from lightning_prune.report.build import timing_of
from lightning_prune.report.content import Goal, Histogram, Reason, RunReport
from lightning_prune.report.histograms import histograms_of
from lightning_prune.report.history import History
from lightning_prune.schedules import Schedule

_Kind = TypeVar("_Kind")


@runtime_checkable
class Planned(Protocol):
    """What the report asks of a pruning callback."""

    name: str
    recipe: Recipe
    dry_run: bool

    @property
    def schedule(self) -> Schedule:
        """When, and how much."""

    @property
    def report(self) -> PruningReport | None:
        """What the last update has reached."""

    @property
    def pruner(self) -> BasePruner | None:
        """The masks and scores."""


def with_run(
    report: RunReport, callbacks: Sequence[Any], history: History, monitor: str | None
) -> RunReport:
    """Return a report that also tells what callbacks did and what was logged.

    Args:
        report: what else there is.
        callbacks: those of the Trainer.
        history: what was logged.
        monitor: key of the metric that tells how good the model is; None to guess.
    """
    prunings = list(prunings_of(callbacks))
    latencies = {
        "in fit": [getattr(one, "latency", None) for one in callbacks],
        "in fit, compact": [getattr(one, "compact_latency", None) for one in callbacks],
    }
    timings = [
        timing_of(what, latency)
        for what, found in latencies.items()
        for latency in found
        if isinstance(latency, Latency)
    ]
    reasons = [
        Reason("left alone", name, why)
        for pruning in prunings
        if pruning.report is not None
        for name, why in pruning.report.left_alone.items()
    ]
    reasons += [
        Reason("guard", str(getattr(one, "name", "")), str(decision))
        for one in callbacks
        for decision in getattr(one, "decisions", ())
    ]
    return replace(
        report,
        goals=tuple(_goal(pruning) for pruning in prunings),
        histograms=tuple(one for pruning in prunings for one in _scores(pruning)),
        series=history.series(monitor, [pruning.name for pruning in prunings]),
        epochs=tuple(history.epochs),
        updates=tuple(history.updates),
        trades=history.trades(monitor),
        timings=(*report.timings, *timings),
        reasons=tuple(dict.fromkeys((*reasons, *report.reasons))),
    )


def prunings_of(callbacks: Sequence[Any]) -> Iterator[Planned]:
    """Yield the callbacks that prune."""
    yield from (callback for callback in callbacks if isinstance(callback, Planned))


def last_of(reports: Sequence[object], kind: type[_Kind]) -> _Kind | None:
    """Return the last report of a kind, None if there is none."""
    return next((report for report in reversed(reports) if isinstance(report, kind)), None)


def _goal(pruning: Planned) -> Goal:
    recipe, report = pruning.recipe, pruning.report
    options: dict[str, object] = {
        "criterion": recipe.criterion,
        "granularity": recipe.granularity,
        "allocation": recipe.allocation,
        "schedule": repr(pruning.schedule),
        "include": ", ".join(recipe.include or ()),
        "exclude": ", ".join(recipe.exclude),
        "latency asked": "" if recipe.latency_ms is None else f"{recipe.latency_ms:g} ms",
        "candidates": _candidates(report),
        "dry run": "nothing was removed" if pruning.dry_run else "",
    }
    return Goal(
        pruning.name,
        recipe.of,
        recipe.sparsity if recipe.latency_ms is None else None,
        None if report is None else report.sparsity,
        {key: str(value) for key, value in options.items() if str(value)},
    )


def _candidates(report: PruningReport | None) -> str:
    """Return what was tried before the last update."""
    return "" if report is None or report.comparison is None else report.comparison.line()


def _scores(pruning: Planned) -> tuple[Histogram, ...]:
    """Return the scores of the last update; of sharded weights, no rank has all."""
    pruner = pruning.pruner
    if pruner is None or pruner.masks.sharded or not pruner.scorer.sample:
        return ()
    sample = pruner.scorer.sample
    kept = [every_nth(mask) for mask in pruner.masks.kept]
    return histograms_of([group.name for group in pruner.masks.groups], sample, kept)
