"""Compact: remove what is exactly zero, prove it, and say what it brought."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn

from lightning_prune.arguments import check_flags, check_model
from lightning_prune.compaction.branches.bypass import Bypass, dead_branches
from lightning_prune.compaction.constants.folding import Constants, fold_constants, may_be_constant
from lightning_prune.compaction.foreign_masks import warn_of_masks
from lightning_prune.compaction.measuring import with_frozen, with_latency, with_macs
from lightning_prune.compaction.plan import Plan
from lightning_prune.compaction.removal import Checks, CounterexampleError, Removal
from lightning_prune.compaction.report import CompactionReport
from lightning_prune.compaction.surgery import Surgery
from lightning_prune.compaction.verification import FOLDED_TOLERANCES, TOLERANCES, Verification
from lightning_prune.coupling import Coupling, couple
from lightning_prune.coupling.unused import warn_unused
from lightning_prune.errors import VerificationError
from lightning_prune.measure import count_bytes, count_parameters
from lightning_prune.modules.fake import require_numbers
from lightning_prune.modules.inputs import ExampleInputs, examples_of
from lightning_prune.modules.twin import twin
from lightning_prune.units.masks import find_dead

log = logging.getLogger(__name__)

_MOST_COUNTEREXAMPLES = 3


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
    coupling = couple(model, examples, allow_unused=allow_unused)
    unused = coupling.unused
    if not allow_unused:
        warn_unused(model, unused)
    before = twin(model)
    reference = _Reference(before, examples, allow_unused)
    surgery = Surgery(model)
    called = dict.fromkeys(example.method for example in examples)
    methods = Plan(methods=tuple(name for name in called if name != "forward"))
    bypass = Bypass(model, surgery, examples, dead_branches(model, coupling.branches))
    try:
        coupling = _take_out(model, bypass, reference, coupling)
        constants = _fold(model, surgery, reference, coupling)
        # A bias is rounded to its own type, which arithmetic in float64 sees.
        tolerances = FOLDED_TOLERANCES if constants.rounds else TOLERANCES
        outcome = _remove(model, surgery, reference, coupling, tolerances)
        surgery.apply(methods)
        if outcome.refused and not (outcome.accepted or bypass.accepted):
            raise VerificationError(_nothing_held(outcome.refused))
        errors = bypass.errors | constants.errors | outcome.errors
        report = CompactionReport(
            params_before=count_parameters(before),
            params_after=count_parameters(model),
            macs_before=None,
            macs_after=None,
            bytes_before=count_bytes(before),
            bytes_after=count_bytes(model),
            max_abs_error=errors.max_abs_error,
            max_rel_error=errors.max_rel_error,
            groups=(*bypass.counts, *outcome.plan.groups),
            plan=bypass.plan.then(constants.plan).then(outcome.plan).then(methods),
            refused=bypass.refused | outcome.refused,
            constant=constants.kept,
            unused=unused,
            tried=reference.tried,
            untried=reference.untried,
        )
        report = with_macs(with_frozen(report, model), before, model, examples)
        return with_latency(report, before, model, examples[0]) if latency else report
    except BaseException:
        surgery.undo()
        raise


def _dead(model: nn.Module, coupling: Coupling) -> list[Tensor]:
    return find_dead(coupling.groups, {name: p.detach() for name, p in model.named_parameters()})


class _Reference:
    """What the model computes as it was given; taken only if it is asked for.

    Args:
        before: a twin of the masked model.
        examples: arguments for its methods, on its device.
        allow_unused: as in `compact`.
    """

    def __init__(
        self, before: nn.Module, examples: list[ExampleInputs], allow_unused: bool
    ) -> None:
        self.examples = examples
        self.allow_unused = allow_unused
        self._before = before

    @cached_property
    def verification(self) -> Verification:
        """That to which every later form of the model is held."""
        return Verification(self._before, self.examples)

    def couple(self, model: nn.Module, recorded: Sequence[ExampleInputs] = ()) -> Coupling:
        """Return the coupling of a form of the model, by the examples and other inputs."""
        return couple(model, [*self.examples, *recorded], allow_unused=self.allow_unused)

    @property
    def tried(self) -> tuple[str, ...]:
        """What the model was compared in, with and on."""
        return self.verification.tried if "verification" in vars(self) else ()

    @property
    def untried(self) -> tuple[str, ...]:
        """What it was not compared in, with or on, and why."""
        return self.verification.untried if "verification" in vars(self) else ()


def _take_out(
    model: nn.Module, bypass: Bypass, reference: _Reference, coupling: Coupling
) -> Coupling:
    """Take out the branches that add zeros; return the coupling of what is left."""
    if not bypass.counts:
        return coupling
    bypass.attempt(reference.verification)
    for name, reason in bypass.refused.items():
        log.warning("Left the branch %s as it was: %s", name, reason)
    if not bypass.accepted:
        return coupling
    return reference.couple(model)


def _fold(
    model: nn.Module, surgery: Surgery, reference: _Reference, coupling: Coupling
) -> Constants:
    """Fold constant units into their readers, if the model then computes the same."""
    dead = _dead(model, coupling)
    if not may_be_constant(model, coupling, dead):
        return Constants()
    verification, start = reference.verification, surgery.mark()
    constants = fold_constants(model, surgery, coupling, dead)
    if not constants.folded:
        return constants
    tolerances = FOLDED_TOLERANCES if constants.rounds else TOLERANCES
    try:
        errors = verification.check(model, tolerances)
    except VerificationError as error:
        surgery.undo(to=start)
        refused = dict.fromkeys(constants.folded, f"its constant: {error}")
        return Constants(kept=constants.kept | refused)
    return replace(constants, errors=errors)


def _remove(
    model: nn.Module,
    surgery: Surgery,
    reference: _Reference,
    coupling: Coupling,
    tolerances: Mapping[torch.dtype, float],
) -> Removal:
    """Remove what can be removed."""
    # A path that only other inputs take, such as one for larger images, was not recorded. Where the
    # smaller model differs on such inputs, they are recorded too, and it is tried again.
    start = surgery.mark()
    recorded: list[ExampleInputs] = []
    lost: dict[str, str] = {}
    while True:
        removal = Removal(model, surgery, coupling, _dead(model, coupling))
        seen = recorded if len(recorded) < _MOST_COUNTEREXAMPLES else None
        try:
            if removal.wanted:
                checks = Checks(model, reference.verification, coupling, tolerances, seen)
                removal.attempt(removal.wanted, checks)
            break
        except CounterexampleError as found:
            surgery.undo(to=start)
            recorded.append(found.inputs)
            wanted = [coupling.groups[index].name for index in removal.wanted]
            coupling = reference.couple(model, recorded)
            left = {group.name for group in coupling.groups}
            lost |= {name: str(found) for name in wanted if name not in left}
    removal.refused.update(lost)
    for name, reason in removal.refused.items():
        log.warning("Left %s as it was: %s", name, reason)
    return removal


def _nothing_held(refused: dict[str, str]) -> str:
    listing = "; ".join(f"{name} ({reason})" for name, reason in refused.items())
    return (
        "Expected the compact model to compute what the masked one computes, but no group of dead "
        f"units could be removed: {listing}. The model is as it was. Exclude these groups from "
        "pruning, or derive their sizes from the tensors' shapes."
    )
