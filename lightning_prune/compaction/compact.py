"""Compact: remove what is exactly zero, prove it, and say what it brought."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from lightning_prune.compaction.plan import Plan, plan_removal
from lightning_prune.compaction.repair import Broken, repair
from lightning_prune.compaction.report import CompactionReport
from lightning_prune.compaction.surgery import Surgery
from lightning_prune.compaction.verification import Errors, Verification
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
    tensors: dict[str, Tensor] = {name: p.detach() for name, p in model.named_parameters()}
    dead = find_dead(coupling.groups, tensors)
    before = twin(model)
    outcome = _remove(model, inputs, coupling, dead)
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
        latency_before=latencies[0],
        latency_after=latencies[1],
    )


def _remove(
    model: nn.Module, inputs: ExampleInputs, coupling: Coupling, dead: Sequence[Tensor]
) -> _Removal:
    """Remove what can be removed; leave the model exactly as it was if anything else happens."""
    removal = _Removal(model, coupling, dead)
    if removal.wanted:
        verification = Verification(model, inputs)
        try:
            removal.attempt(removal.wanted, verification)
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


class _Removal:
    """The largest set of groups whose removal verifies, found by halving."""

    def __init__(self, model: nn.Module, coupling: Coupling, dead: Sequence[Tensor]) -> None:
        self.surgery = Surgery(model)
        self.wanted = [index for index, units in enumerate(dead) if bool(units.any())]
        self.accepted: list[int] = []
        self.refused: dict[str, str] = {}
        self.errors = Errors()
        self._model = model
        self._coupling = coupling
        self._dead = dead

    def _plan_for(self, chosen: list[int]) -> Plan:
        units = [
            dead if index in chosen else torch.zeros_like(dead)
            for index, dead in enumerate(self._dead)
        ]
        return plan_removal(self._coupling.groups, units, self._coupling.grouped)

    def attempt(self, candidates: list[int], verification: Verification) -> None:
        """Remove as many of the candidate groups as hold, beside those accepted before."""
        while candidates:
            plan = self._plan_for([*self.accepted, *candidates])
            forecasts = self._coupling.traces.forecasts(plan.kept)
            self.surgery.undo()
            self.surgery.apply(plan)
            broken = repair(self._model, self.surgery, forecasts)
            try:
                self.errors = verification.check(self._model)
            except VerificationError as error:
                culprits = self._passing(broken, candidates) if broken is not None else []
                reason = str(error) if broken is None else broken.reason
                if not culprits:
                    return self._halve(candidates, reason, verification)
                for index in culprits:
                    self.refused[self._coupling.groups[index].name] = reason
                candidates = [index for index in candidates if index not in culprits]
            else:
                self.accepted += candidates
                return None
        return self._restore()

    def _passing(self, broken: Broken, candidates: list[int]) -> list[int]:
        """Return the candidates whose units pass an operation that cannot be made to fit."""
        axes = [self._coupling.groups[index].members[0].axis for index in candidates]
        graph = broken.trace.graph
        activations = [ref for ref in broken.node.inputs if graph[ref].name is None]
        for refs in (activations, broken.node.inputs, broken.node.results):
            passing = self._coupling.traces.passing(broken.trace, refs, axes)
            if any(passing):
                return [index for index, it in zip(candidates, passing, strict=True) if it]
        return []

    def _halve(self, candidates: list[int], reason: str, verification: Verification) -> None:
        half = len(candidates) // 2
        if half == 0:
            self.refused[self._coupling.groups[candidates[0]].name] = reason
            return self._restore()
        self.attempt(candidates[:half], verification)
        return self.attempt(candidates[half:], verification)

    def _restore(self) -> None:
        """Bring the model back to what was accepted."""
        self.surgery.undo()
        if self.accepted:
            self.surgery.apply(self.plan)
            repair(self._model, self.surgery, self._coupling.traces.forecasts(self.plan.kept))

    @property
    def plan(self) -> Plan:
        """What was accepted."""
        return self._plan_for(self.accepted)


def _listing(refused: dict[str, str]) -> str:
    return "; ".join(f"{name} ({reason})" for name, reason in refused.items())
