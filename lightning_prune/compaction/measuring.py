"""Measuring: what a compaction brought, in multiply-adds and milliseconds.

By then the model is compact and proved. If it cannot be measured it stays so, and the report says
why.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace

from torch import nn

from lightning_prune.compaction.cures import find_cure
from lightning_prune.compaction.report import CompactionReport
from lightning_prune.coupling.unused import parts_of
from lightning_prune.measure import measure_in_turns
from lightning_prune.measure.macs import macs_by_shapes
from lightning_prune.modules.inputs import ExampleInputs

log = logging.getLogger(__name__)


def with_frozen(report: CompactionReport, after: nn.Module) -> CompactionReport:
    """Return a report that also names what is frozen, such as a teacher inside the model.

    Args:
        report: what a compaction did.
        after: the compact model.
    """
    parameters = dict(after.named_parameters())
    frozen = [name for name, parameter in parameters.items() if not parameter.requires_grad]
    if len(frozen) == len(parameters):
        return report
    count = sum(parameters[name].numel() for name in frozen)
    return replace(report, frozen=parts_of(frozen, parameters), params_frozen=count)


def with_macs(
    report: CompactionReport,
    before: nn.Module,
    after: nn.Module,
    examples: Sequence[ExampleInputs],
) -> CompactionReport:
    """Return a report that also holds multiply-adds.

    Args:
        report: what a compaction did.
        before: the masked model.
        after: the compact one.
        examples: arguments for both; those that are measured count.
    """
    try:
        measured = [example for example in examples if example.measured]
        counts = [macs_by_shapes(model, measured) for model in (before, after)]
    except Exception as error:  # whatever a model's own code raises, or no memory
        return _without(report, "multiply-adds", error)
    return replace(report, macs_before=counts[0], macs_after=counts[1])


def with_latency(
    report: CompactionReport, before: nn.Module, after: nn.Module, inputs: ExampleInputs
) -> CompactionReport:
    """Return a report that also holds the latency of both models, measured in turns, and a cure.

    Args:
        report: what a compaction did.
        before: the masked model.
        after: the compact one.
        inputs: arguments for both.
    """
    try:
        turns = measure_in_turns([before, after], inputs)
    except Exception as error:  # whatever a model's own code raises, or no memory
        return _without(report, "the latency", error)
    slow, fast = turns.latencies
    report = replace(
        report, latency_before=slow, latency_after=fast, speedup_interval=turns.speedup()
    )
    return report if report.is_faster else _with_cure(report, before, after, inputs)


def _with_cure(
    report: CompactionReport, before: nn.Module, after: nn.Module, inputs: ExampleInputs
) -> CompactionReport:
    try:
        return replace(report, cure=find_cure(report, before, after, inputs))
    except Exception as error:  # whatever a model's own code raises, or no memory
        log.info("What would make the model faster could not be measured: %s", error)
        return report


def _without(report: CompactionReport, what: str, error: Exception) -> CompactionReport:
    log.warning("The model is compact, but %s could not be measured: %s", what, error)
    return replace(report, unmeasured=(*report.unmeasured, f"{what}: {error}"))
