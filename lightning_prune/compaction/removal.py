"""Removal: the largest set of groups whose removal holds.

Each attempt is a plan, surgery, repair and verification. Groups that pass an operation which cannot
be made to fit are put back; where nothing tells which ones are at fault, halving finds them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import torch
from torch import Tensor, nn

from lightning_prune.compaction.completion import completed
from lightning_prune.compaction.plan import Plan, plan_removal
from lightning_prune.compaction.repair import Broken, Repair, Repaired
from lightning_prune.compaction.surgery import Surgery
from lightning_prune.compaction.verification import TOLERANCES, Check, Errors
from lightning_prune.coupling import Coupling
from lightning_prune.coupling.forecast import Traces
from lightning_prune.errors import VerificationError
from lightning_prune.modules.inputs import ExampleInputs


class CounterexampleError(Exception):
    """The smaller model differs on inputs that were not recorded.

    Args:
        inputs: these inputs.
        reason: how it differs.
    """

    def __init__(self, inputs: ExampleInputs, reason: str) -> None:
        super().__init__(reason)
        self.inputs = inputs


class Checks:
    """What a smaller model is brought to, and held to.

    Args:
        model: the masked model, before surgery.
        verification: what the model is held to.
        traces: recordings of the model, which the smaller one is brought to follow.
        tolerances: largest relative error allowed, by the type of the arithmetic.
        recorded: variants of the examples that the coupling has seen; None if it sees no more.
        full: a twin of the model, if there is one already.
    """

    def __init__(
        self,
        model: nn.Module,
        verification: Check,
        traces: Traces,
        tolerances: Mapping[torch.dtype, float] = TOLERANCES,
        recorded: Sequence[ExampleInputs] | None = None,
        full: nn.Module | None = None,
    ) -> None:
        self.verification = verification
        self.recorded = recorded
        self.tolerances = tolerances
        self.repair = Repair(model, traces, full)

    def check(self, model: nn.Module, repaired: Repaired) -> Errors:
        """Hold a smaller model to the masked one.

        Args:
            model: the model after surgery and repair.
            repaired: what the repair has seen.

        Returns:
            The largest differences.

        Raises:
            VerificationError: if it does not run, or differs too much.
        """
        if repaired.runs and not self.verification.compares:
            return Errors()
        return self.verification.check(model, self.tolerances)

    def raise_counterexample(self, reason: str) -> None:
        """Tell of inputs on which the last model differed, if a recording of them may help.

        Args:
            reason: how it differed.

        Raises:
            CounterexampleError: if there are such inputs.
        """
        inputs = self.verification.counterexample
        if self.recorded is None or inputs is None or any(it is inputs for it in self.recorded):
            return
        raise CounterexampleError(inputs, reason)


class Removal:
    """What is being removed from one model.

    Args:
        model: the masked model.
        surgery: changes it in place.
        coupling: of the model.
        dead: for each group where a unit may go, shape ``[units]``.
    """

    def __init__(
        self, model: nn.Module, surgery: Surgery, coupling: Coupling, dead: Sequence[Tensor]
    ) -> None:
        self.wanted = [index for index, units in enumerate(dead) if bool(units.any())]
        self.accepted: list[int] = []
        self.refused: dict[str, str] = {}
        self.errors = Errors()
        self._model = model
        self._coupling = coupling
        self._dead = dead
        self._surgery = surgery
        self._start = surgery.mark()
        self.plan = self._plan_for([])

    def _plan_for(self, chosen: list[int]) -> Plan:
        units = [
            dead if index in chosen else torch.zeros_like(dead)
            for index, dead in enumerate(self._dead)
        ]
        plan = plan_removal(self._coupling.groups, units)
        return completed(plan, self._model, self._coupling.grouped)

    def attempt(self, candidates: list[int], checks: Checks) -> None:
        """Remove as many of the candidate groups as hold, beside those accepted before.

        Args:
            candidates: indices of groups.
            checks: what the smaller model is held to.

        Raises:
            CounterexampleError: if the coupling should see other inputs first.
        """
        while candidates:
            repaired = self._remove([*self.accepted, *candidates], checks.repair)
            broken = repaired.broken
            if broken is not None:  # whatever it returns on the examples
                culprits = self._passing(broken, candidates)
                if not culprits:
                    return self._halve(candidates, broken.reason, checks)
                self._refuse(culprits, broken.reason)
                candidates = [index for index in candidates if index not in culprits]
                continue
            try:
                self.errors = checks.check(self._model, repaired)
            except VerificationError as error:
                checks.raise_counterexample(str(error))
                return self._halve(candidates, str(error), checks)
            self.accepted += candidates
            self.plan = repaired.plan
            return None
        return self._restore()

    def _refuse(self, groups: Iterable[int], reason: str) -> None:
        self.refused |= {self._coupling.groups[index].name: reason for index in groups}

    def _remove(self, chosen: list[int], repair: Repair) -> Repaired:
        self._surgery.undo(to=self._start)
        plan = self._plan_for(chosen)
        self._surgery.apply(plan)
        return repair(self._surgery, plan)

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

    def _halve(self, candidates: list[int], reason: str, checks: Checks) -> None:
        half = len(candidates) // 2
        if half == 0:
            self._refuse(candidates, reason)
            return self._restore()
        self.attempt(candidates[:half], checks)
        return self.attempt(candidates[half:], checks)

    def _restore(self) -> None:
        """Bring the model back to what was accepted."""
        self._surgery.undo(to=self._start)
        if self.accepted:
            self._surgery.apply(self.plan)
