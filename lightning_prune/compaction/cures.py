"""Cures: why a compact model is not faster, and what would help.

A cure with a number was measured, in turns with the masked model; one without was not.
"""

from __future__ import annotations

from torch import nn

from lightning_prune.compaction.compact_twin import compact_twin
from lightning_prune.compaction.report import CompactionReport
from lightning_prune.measure import measure_in_turns, measure_sparsity
from lightning_prune.modules.inputs import ExampleInputs

_MULTIPLE = 8
_LARGE_BATCH = 32
_FASTER = 1.05


def find_cure(
    report: CompactionReport, before: nn.Module, after: nn.Module, inputs: ExampleInputs
) -> str:
    """Say what would make a model faster that compaction has not.

    Args:
        report: of the compaction, with multiply-adds and units.
        before: the masked model.
        after: the compact one.
        inputs: arguments for both.

    Returns:
        A sentence without a full stop; empty if nothing is known to help.
    """
    if not report.removed:
        return _of_zeros(before)
    found = [_of_multiples(report, before, inputs), _of_batch(before, after, inputs)]
    if not any(found):
        found.append(_of_multiply_adds(report))
    return "; ".join(sentence for sentence in found if sentence)


def _of_zeros(before: nn.Module) -> str:
    sparsity = measure_sparsity(before, min_ndim=2).total
    if sparsity < 0.01:
        return ""
    return (
        f"{sparsity:.0%} of the weights are zero, but dense kernels multiply by zeros as well: "
        "prune channels"
    )


def _of_multiples(report: CompactionReport, before: nn.Module, inputs: ExampleInputs) -> str:
    """Measure the model with numbers of units that kernels like better, if they are others."""
    odd = [group for group in report.groups if group.removed and group.kept % _MULTIPLE]
    if not any(group.units >= _MULTIPLE for group in odd):
        return ""
    rounded = compact_twin(before, inputs, round_to=_MULTIPLE)
    speedup = measure_in_turns([before, rounded], inputs).speedup()
    if speedup.low < max(_FASTER, report.speedup or 0.0):
        return ""
    return (
        f"{odd[0].kept} units in {odd[0].name} are no multiple of {_MULTIPLE}: "
        f"`round_to={_MULTIPLE}` measures {speedup}"
    )


def _of_batch(before: nn.Module, after: nn.Module, inputs: ExampleInputs) -> str:
    """Measure both at a larger batch, where calls cost less beside arithmetic."""
    if inputs.batch_size >= _LARGE_BATCH:
        return ""
    speedup = measure_in_turns([before, after], inputs, batch_size=_LARGE_BATCH).speedup()
    if speedup.low < _FASTER:
        return ""
    return f"calls cost more than arithmetic: a batch of {_LARGE_BATCH} measures {speedup}"


def _of_multiply_adds(report: CompactionReport) -> str:
    if not report.macs_before or report.macs_after is None:
        return ""
    less = 1 - report.macs_after / report.macs_before
    if less > 0.1:
        return ""
    return f"the multiply-adds are only {less:.0%} fewer: prune more, or `of='macs'`"
