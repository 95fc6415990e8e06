"""What a report holds: frozen values, of which the page, the figures and the JSON file are made.

Every number that the page shows is one of these. Steps are optimizer steps.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

Form = Literal["count", "bytes", "ms"]
Kind = Literal["sparsity", "accuracy", "latency", "other"]


@dataclass(frozen=True)
class Goal:
    """What was asked of a pruning, and what it reached.

    Args:
        name: of the pruning.
        of: of what sparsities are fractions.
        asked: sparsity asked for in the end, in [0, 1); None if a latency was.
        reached: sparsity reached, in [0, 1); None if the masks were never updated.
        options: what else was asked for, by the name of the argument.
    """

    name: str
    of: str
    asked: float | None
    reached: float | None
    options: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Change:
    """A figure of the whole model, before and after compaction.

    Args:
        what: its name.
        form: how it is written.
        before: of the masked model.
        after: of the compact model.
        ratio: of before to after; None if nothing is left.
    """

    what: str
    form: Form
    before: float
    after: float
    ratio: float | None


@dataclass(frozen=True)
class Width:
    """Units of a group of coupled channels, heads or whatever was pruned."""

    group: str
    before: int
    after: int


@dataclass(frozen=True)
class LayerRow:
    """What one module holds and costs by itself, without the modules inside of it.

    Args:
        name: of the module; empty for the model itself and what is no module's.
        kind: its class.
        shape_before: of its largest parameter; empty if it has none.
        params_before: elements of its own parameters.
        macs_before: multiply-adds of one run; None if not counted.
        ms_before: milliseconds of one run, by hooks; None if not measured.
        shape_after: as before; None if there is no compact model.
        params_after: the same.
        macs_after: the same.
        ms_after: the same.
    """

    name: str
    kind: str
    shape_before: tuple[int, ...]
    params_before: int
    macs_before: int | None = None
    ms_before: float | None = None
    shape_after: tuple[int, ...] | None = None
    params_after: int | None = None
    macs_after: int | None = None
    ms_after: float | None = None


@dataclass(frozen=True)
class Histogram:
    """How the scores of a group's units are distributed.

    Args:
        group: its name.
        sampled: how many units were looked at.
        logarithmic: whether bins are of equal width in the logarithm of the score.
        edges: of the bins, one more than there are bins.
        kept: units of each bin that are kept.
        removed: units of each bin that are removed.
        zeros: removed units of score zero, which no bin of logarithms holds.
    """

    group: str
    sampled: int
    logarithmic: bool
    edges: tuple[float, ...]
    kept: tuple[int, ...]
    removed: tuple[int, ...]
    zeros: int = 0


@dataclass(frozen=True)
class Series:
    """A logged metric over the training."""

    key: str
    kind: Kind
    steps: tuple[int, ...]
    values: tuple[float, ...]


@dataclass(frozen=True)
class Update:
    """An update of the masks.

    Args:
        name: of the pruning.
        step: optimizer steps done before it.
        epoch: in which it happened.
        asked: sparsity asked for by then.
        reached: sparsity reached.
    """

    name: str
    step: int
    epoch: int
    asked: float
    reached: float


@dataclass(frozen=True)
class Timing:
    """A latency, and where it was measured.

    Args:
        what: the model.
        backend: what ran it.
        batch_size: first dimension of its first input.
        device: where it ran; empty if not known.
        threads: CPU threads.
        p50_ms: median.
        p95_ms: 95th percentile.
        speedup: how many times as fast it is as the masked model, measured in turns; None if it
            was not compared.
        low: lower end of the 95% confidence interval of that.
        high: its upper end.
    """

    what: str
    backend: str
    batch_size: int
    device: str
    threads: int
    p50_ms: float
    p95_ms: float
    speedup: float | None = None
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True)
class Trade:
    """Accuracy and latency of the model at one step.

    Args:
        step: at which both were logged.
        latency_ms: of the compact model as it would have been, or of the masked one.
        accuracy: the metric.
    """

    step: int
    latency_ms: float
    accuracy: float


@dataclass(frozen=True)
class Reason:
    """Why something was not pruned or not removed.

    Args:
        what: what happened to it, such as ``"refused"`` or ``"frozen"``.
        name: of the group, module or parameter.
        reason: why.
    """

    what: str
    name: str
    reason: str


@dataclass(frozen=True)
class RunReport:
    """All that a report says; what is empty was not seen or not measured.

    Args:
        title: of the page.
        status: how the run ended.
        goals: what was asked and reached.
        changes: the whole model before and after.
        widths: units of every group before and after.
        layers: every module.
        histograms: scores of the last update of the masks.
        series: logged metrics over the training.
        epochs: the steps after which epochs ended.
        updates: of the masks.
        timings: latencies.
        trades: accuracy against latency.
        reasons: what was refused or frozen.
        notes: what else is worth knowing.
        metrics: the last value of every logged metric.
        unmeasured: what was not measured, with the reason.
        versions: of the packages.
        machine: what it ran on.
    """

    title: str = "Pruning report"
    status: str = ""
    goals: tuple[Goal, ...] = ()
    changes: tuple[Change, ...] = ()
    widths: tuple[Width, ...] = ()
    layers: tuple[LayerRow, ...] = ()
    histograms: tuple[Histogram, ...] = ()
    series: tuple[Series, ...] = ()
    epochs: tuple[int, ...] = ()
    updates: tuple[Update, ...] = ()
    timings: tuple[Timing, ...] = ()
    trades: tuple[Trade, ...] = ()
    reasons: tuple[Reason, ...] = ()
    notes: tuple[str, ...] = ()
    metrics: Mapping[str, float] = field(default_factory=dict)
    unmeasured: tuple[str, ...] = ()
    versions: Mapping[str, str] = field(default_factory=dict)
    machine: Mapping[str, str | int] = field(default_factory=dict)

    def of_kind(self, kind: Kind) -> tuple[Series, ...]:
        """Return the logged metrics of one kind."""
        return tuple(series for series in self.series if series.kind == kind)

    def to_json(self) -> str:
        """Return everything as JSON; numbers that are not finite are null."""
        return json.dumps(_plain(asdict(self)), indent=1, allow_nan=False)


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
