"""Training: does the compact model compute in train mode what the masked one computed there?

Auxiliary outputs and other branches that only run in training have corrected sizes and numbers of
their own, which verification in eval mode does not see.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from lightning_prune.compaction.verification.decisions import Decision, Decisions
from lightning_prune.coupling.forecast import Trace, Traces
from lightning_prune.coupling.replay import run_as_recorded
from lightning_prune.errors import ExampleInputsError, VerificationError

_ROUNDING = 1e-4


@dataclass(frozen=True)
class _Run:
    trace: Trace
    outputs: tuple[Tensor, ...]
    decisions: list[Decision]


class Training:
    """The outputs of a masked model in train mode, to which a compact one is held.

    Args:
        model: the masked model, before surgery.
        traces: recordings of it.
    """

    def __init__(self, model: nn.Module, traces: Traces) -> None:
        self._runs: list[_Run] = []
        for trace in traces.traces:
            decisions = Decisions()
            if not trace.training:
                continue
            try:
                outputs = run_as_recorded(model, trace, decisions)
                again = run_as_recorded(model, trace, seed=1)
            except ExampleInputsError:
                continue
            if _equal(outputs, again):  # what is random depends on how many numbers are drawn
                self._runs.append(_Run(trace, outputs, decisions.made))

    def check(self, model: nn.Module) -> None:
        """Hold ``model`` to the outputs of the masked model.

        Args:
            model: the model after surgery.

        Raises:
            VerificationError: if it does not run, or computes something else.
        """
        for run in self._runs:
            try:
                outputs = run_as_recorded(model, run.trace, Decisions(run.decisions))
            except ExampleInputsError as error:
                raise VerificationError(f"in train mode, {error.__cause__}") from error
            if not _equal(run.outputs, outputs):
                raise VerificationError("outputs differ in train mode")


def _equal(expected: Sequence[Tensor], obtained: Sequence[Tensor]) -> bool:
    shapes = [t.shape for t in expected] == [t.shape for t in obtained]
    return shapes and all(map(_close, expected, obtained))


def _close(expected: Tensor, obtained: Tensor) -> bool:
    if not expected.is_floating_point():
        return torch.equal(expected, obtained)
    finite = expected.isfinite()
    if not torch.equal(finite, obtained.isfinite()):
        return False
    expected, obtained = expected[finite], obtained[finite]
    if not expected.numel():
        return True
    allowed = max(_ROUNDING, 64 * torch.finfo(expected.dtype).eps) * expected.abs().max()
    return bool((expected - obtained).abs().max() <= allowed)
