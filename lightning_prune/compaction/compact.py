"""Compact: remove what is exactly zero, prove it, and say what it brought."""

from __future__ import annotations

import logging
from typing import Any

from torch import Tensor, nn

from lightning_prune.compaction.constants import Constants, fold_constants, may_be_constant
from lightning_prune.compaction.removal import Checks, Removal
from lightning_prune.compaction.report import CompactionReport
from lightning_prune.compaction.surgery import Surgery
from lightning_prune.compaction.verification import FOLDED_TOLERANCES, Verification
from lightning_prune.coupling import Coupling, couple
from lightning_prune.errors import VerificationError
from lightning_prune.fake import require_numbers
from lightning_prune.inputs import ExampleInputs
from lightning_prune.masks import find_dead
from lightning_prune.measure import count_bytes, count_macs, count_parameters, measure_in_turns
from lightning_prune.twin import twin

log = logging.getLogger(__name__)


def compact(model: nn.Module, example_inputs: Any, *, latency: bool = True) -> CompactionReport:
    """Remove every unit of ``model`` that is exactly zero in its weights, in place.

    It does not matter who zeroed them. The result is held to the outputs of the model as it was,
    in float32 and float64, on two inputs. Groups whose removal does not hold are left as they
    were and named in the report. State-dict keys, tied parameters and the identity of parameters
    stay; optimizers made before must be made anew.

    Args:
        model: any module.
        example_inputs: what ``model(...)`` takes: a tensor, a tuple of positional arguments or a
            dict of keyword arguments.
        latency: also measure the latency before and after, in turns.

    Returns:
        What was removed and what it brought.

    Raises:
        ExampleInputsError: if the model does not run on the inputs.
        VerificationError: if no removal would leave the outputs as they are; the model is then
            exactly as it was.
    """
    require_numbers(model)
    inputs = ExampleInputs.of(example_inputs).on(model)
    coupling = couple(model, inputs)
    before = twin(model)
    folding = Surgery(model)
    try:
        constants = _fold(model, folding, inputs, coupling)
        outcome = _remove(model, inputs, coupling)
    except BaseException:
        folding.undo()
        raise
    latencies = measure_in_turns([before, model], inputs) if latency else [None, None]
    return CompactionReport(
        params_before=count_parameters(before),
        params_after=count_parameters(model),
        macs_before=count_macs(before, inputs),
        macs_after=count_macs(model, inputs),
        bytes_before=count_bytes(before),
        bytes_after=count_bytes(model),
        max_abs_error=outcome.errors.max_abs_error,
        max_rel_error=outcome.errors.max_rel_error,
        groups=outcome.plan.groups,
        refused=outcome.refused,
        constant=constants.kept,
        latency_before=latencies[0],
        latency_after=latencies[1],
    )


def _dead(model: nn.Module, coupling: Coupling) -> list[Tensor]:
    return find_dead(coupling.groups, {name: p.detach() for name, p in model.named_parameters()})


def _fold(
    model: nn.Module, surgery: Surgery, inputs: ExampleInputs, coupling: Coupling
) -> Constants:
    """Fold constant units into their readers, if the model then computes the same."""
    dead = _dead(model, coupling)
    if not may_be_constant(model, coupling, dead):
        return Constants()
    verification = Verification(model, inputs)
    constants = fold_constants(model, surgery, verification.inputs, coupling, dead)
    try:
        # A bias is rounded to its own type, which arithmetic in float64 sees.
        verification.check(model, FOLDED_TOLERANCES)
    except VerificationError as error:
        surgery.undo()
        return Constants(kept=dict.fromkeys(constants.folded, f"its constant: {error}"))
    return constants


def _remove(model: nn.Module, inputs: ExampleInputs, coupling: Coupling) -> Removal:
    """Remove what can be removed; leave the model exactly as it was if anything else happens."""
    removal = Removal(model, coupling, _dead(model, coupling))
    if removal.wanted:
        checks = Checks(model, inputs, coupling)
        try:
            removal.attempt(removal.wanted, checks)
        except BaseException:
            removal.surgery.undo()
            raise
    if removal.wanted and not removal.accepted:
        raise VerificationError(
            "Expected the compact model to compute what the masked one computes, but no group of "
            f"dead units could be removed: {_listing(removal.refused)}. The model is as it was. "
            "Exclude these groups from pruning, or derive their sizes from the tensors' shapes."
        )
    for name, reason in removal.refused.items():
        log.warning("Left %s as it was: %s", name, reason)
    return removal


def _listing(refused: dict[str, str]) -> str:
    return "; ".join(f"{name} ({reason})" for name, reason in refused.items())
