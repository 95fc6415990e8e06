"""Compact: remove what is exactly zero, prove it, and say what it brought."""

from __future__ import annotations

import logging
from typing import Any

import torch
from torch import nn

from lightning_prune.arguments import check_flags, check_model
from lightning_prune.compaction.foreign_masks import warn_of_masks
from lightning_prune.compaction.measuring import with_frozen, with_latency, with_macs
from lightning_prune.compaction.plan import Plan
from lightning_prune.compaction.report import CompactionReport
from lightning_prune.compaction.shrinking import Shrinking, Shrunk
from lightning_prune.coupling import couple
from lightning_prune.coupling.unused import warn_unused
from lightning_prune.errors import VerificationError
from lightning_prune.measure import count_bytes, count_parameters
from lightning_prune.modules.garbage import no_full_collections
from lightning_prune.modules.inputs import examples_of
from lightning_prune.modules.numbers import require_numbers
from lightning_prune.modules.precision import full_precision

log = logging.getLogger(__name__)


@no_full_collections()
@torch.inference_mode(False)
def compact(
    model: nn.Module,
    example_inputs: Any,
    *,
    latency: bool = True,
    allow_unused: bool = False,
) -> CompactionReport:
    """Remove every unit of ``model`` that is exactly zero in its weights, in place.

    Residual branches that add nothing are taken out as a whole: their layers do not run any more,
    and their parameters become empty. It does not matter who zeroed them. The result is held to
    what the model computed as it was given: in eval and in train mode, in float32 and float64, on
    inputs of other sizes and values; the report says on which. Groups and branches whose removal
    does not hold are left as they were and named in the report. State-dict keys, tied parameters
    and the identity of parameters stay; optimizers made before must be made anew.

    Args:
        model: any module.
        example_inputs: what ``model(...)`` takes: a tensor, a tuple of positional arguments, a
            dict of keyword arguments or a `Call` of another method, or a list of such examples,
            all of which are verified.
        latency: also measure the latency before and after, in turns, of the first example. A
            model that cannot be measured is compact all the same; the report says why.
        allow_unused: units may also go where a parameter that no example runs might read them.

    Returns:
        What was removed and what it brought.

    Raises:
        ExampleInputsError: if the model does not run on the inputs.
        VerificationError: if no removal would leave the outputs as they are; the model is then
            exactly as it was.
        TypeError: if ``model`` is no module, or an option neither True nor False.
    """
    check_model(model)
    check_flags(latency=latency, allow_unused=allow_unused)
    require_numbers(model)
    warn_of_masks(model)
    examples = [example.on(model) for example in examples_of(example_inputs)]
    with full_precision():
        coupling = couple(model, examples, allow_unused=allow_unused)
    unused = coupling.unused
    if not allow_unused:
        warn_unused(model, unused)
    shrinking = Shrinking(model, examples, allow_unused=allow_unused)
    before, surgery = shrinking.before, shrinking.surgery
    called = dict.fromkeys(example.method for example in examples)
    methods = Plan(methods=tuple(name for name in called if name != "forward"))
    try:
        with full_precision():
            shrunk = shrinking.run(coupling)
            _warn_of_refused(shrunk)
            surgery.apply(methods)
            if shrunk.nothing_held:
                raise VerificationError(
                    _nothing_held(shrunk.removal.refused | shrunk.experts.refused)
                )
            report = CompactionReport(
                params_before=count_parameters(before),
                params_after=count_parameters(model),
                macs_before=None,
                macs_after=None,
                bytes_before=count_bytes(before),
                bytes_after=count_bytes(model),
                max_abs_error=shrunk.errors.max_abs_error,
                max_rel_error=shrunk.errors.max_rel_error,
                groups=(
                    *shrunk.bypass.counts,
                    *shrunk.removal.plan.groups,
                    *shrunk.experts.plan.groups,
                ),
                plan=shrunk.plan.then(methods),
                refused=shrunk.refused,
                constant=shrunk.constants.kept,
                unused=unused,
                tried=shrinking.tried,
                untried=shrinking.untried,
            )
            report = with_macs(with_frozen(report, model), before, model, examples)
        return with_latency(report, before, model, examples[0]) if latency else report
    except BaseException:
        surgery.undo()
        raise


def _warn_of_refused(shrunk: Shrunk) -> None:
    for name, reason in shrunk.bypass.refused.items():
        log.warning("Left the branch %s as it was: %s", name, reason)
    for name, reason in shrunk.removal.refused.items():
        log.warning("Left %s as it was: %s", name, reason)
    for name, reason in shrunk.experts.refused.items():
        log.warning("Left the experts of %s as they were: %s", name, reason)


def _nothing_held(refused: dict[str, str]) -> str:
    listing = "; ".join(f"{name} ({reason})" for name, reason in refused.items())
    return (
        "Expected the compact model to compute what the masked one computes, but no group of dead "
        f"units could be removed: {listing}. The model is as it was. Exclude these groups from "
        "pruning, or derive their sizes from the tensors' shapes."
    )
