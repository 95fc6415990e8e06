"""Shrinking: the stages of a compaction, one after the other.

Branches that add nothing are taken out, constants are folded, dead units are removed, and at last
experts of mixtures. Each stage is held to what the model computed before; what does not hold is put
back.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, reduce

import torch
from torch import Tensor, nn

from lightning_prune.compaction.branches.bypass import Bypass, dead_branches
from lightning_prune.compaction.constants.folding import Constants, fold_constants, may_be_constant
from lightning_prune.compaction.experts import Experts, dead_experts, remove_experts
from lightning_prune.compaction.plan import Plan
from lightning_prune.compaction.removal import Checks, CounterexampleError, Removal
from lightning_prune.compaction.surgery import Surgery
from lightning_prune.compaction.verification import (
    FOLDED_TOLERANCES,
    TOLERANCES,
    Check,
    Errors,
    Unverified,
    Verification,
)
from lightning_prune.coupling import Coupling, couple
from lightning_prune.coupling.forecast import Traces
from lightning_prune.errors import VerificationError
from lightning_prune.modules.inputs import ExampleInputs
from lightning_prune.modules.twin import twin
from lightning_prune.units.masks import find_dead

_MOST_COUNTEREXAMPLES = 3


@dataclass(frozen=True, eq=False)
class Shrunk:
    """What became of a model.

    Args:
        bypass: the branches.
        constants: the units that were folded.
        removal: the groups.
        experts: the mixtures.
    """

    bypass: Bypass
    constants: Constants
    removal: Removal
    experts: Experts

    @property
    def plan(self) -> Plan:
        """What was done, all together."""
        later = (self.constants.plan, self.removal.plan, self.experts.plan)
        return reduce(Plan.then, later, self.bypass.plan)

    @property
    def errors(self) -> Errors:
        """The largest differences from the masked model."""
        later = self.removal.errors | self.experts.errors
        return self.bypass.errors | self.constants.errors | later

    @property
    def refused(self) -> dict[str, str]:
        """What was left as it was, and why."""
        return self.bypass.refused | self.removal.refused | self.experts.refused

    @property
    def nothing_held(self) -> bool:
        """Whether groups were to be removed, and nothing could be."""
        accepted = self.removal.accepted or self.bypass.accepted or self.experts.plan.groups
        return bool(self.removal.refused or self.experts.refused) and not accepted


class Shrinking:
    """How one model becomes smaller.

    Args:
        model: the masked model; it becomes smaller in place.
        examples: arguments for its methods, on its device.
        before: the same model in full size, that nobody changes; a twin if there is none.
        allow_unused: as in `compact`.
        verified: hold every form of the model to the masked one; else only see that it runs.
        round_to: the number of units that stay in a group is a multiple of this, or all.
    """

    def __init__(
        self,
        model: nn.Module,
        examples: list[ExampleInputs],
        *,
        before: nn.Module | None = None,
        allow_unused: bool = False,
        verified: bool = True,
        round_to: int = 1,
    ) -> None:
        self.before = twin(model) if before is None else before
        self.surgery = Surgery(model)
        self._first_mark = self.surgery.mark()
        self._known_dead: tuple[tuple[Coupling, int, int], list[Tensor]] | None = None
        self._model = model
        self._examples = examples
        self._allow_unused = allow_unused
        self._verified = verified
        self._round_to = round_to

    @cached_property
    def check(self) -> Check:
        """That to which every later form of the model is held; made only if it is asked for."""
        if self._verified:
            return Verification(self.before, self._examples)
        return Unverified(self._examples)

    @property
    def tried(self) -> tuple[str, ...]:
        """What the model was compared in, with and on."""
        return self.check.tried if "check" in vars(self) else ()

    @property
    def untried(self) -> tuple[str, ...]:
        """What it was not compared in, with or on, and why."""
        return self.check.untried if "check" in vars(self) else ()

    def run(self, coupling: Coupling) -> Shrunk:
        """Remove all that can be removed.

        Args:
            coupling: of the model.

        Returns:
            What was removed, and what was not.
        """
        branches = dead_branches(self._model, coupling.branches)
        bypass = Bypass(self._model, self.surgery, self._examples, branches)
        coupling = self._take_out(bypass, coupling)
        constants, removal = self._fold_and_remove(coupling)
        tolerances = _tolerances(constants)
        mixtures = dead_experts(self._model, coupling.mixtures)
        args = (self._model, self.surgery, self._examples, mixtures)
        experts = remove_experts(*args, self.check, tolerances) if mixtures else Experts()
        return Shrunk(bypass, constants, removal, experts)

    def _couple(self, recorded: Sequence[ExampleInputs] = ()) -> Coupling:
        """Return the coupling of the model as it is, by the examples and other inputs."""
        examples = [*self._examples, *recorded]
        return couple(self._model, examples, allow_unused=self._allow_unused)

    def _dead(self, coupling: Coupling, round_to: int = 1) -> list[Tensor]:
        """Return which units are dead now; of the last answer, if nothing has changed since."""
        asked = coupling, round_to, self.surgery.mark()
        if self._known_dead is None or self._known_dead[0] != asked:
            self._known_dead = asked, self._find_dead(coupling, round_to)
        return self._known_dead[1]

    def _find_dead(self, coupling: Coupling, round_to: int) -> list[Tensor]:
        tensors = dict(self._model.named_parameters()) | dict(self._model.named_buffers())
        detached = {name: tensor.detach() for name, tensor in tensors.items()}
        return find_dead(coupling.groups, detached, round_to)

    def _take_out(self, bypass: Bypass, coupling: Coupling) -> Coupling:
        """Take out the branches that add zeros; return the coupling of what is left."""
        if not bypass.counts:
            return coupling
        bypass.attempt(self.check)
        return self._couple() if bypass.accepted else coupling

    def _fold_and_remove(self, coupling: Coupling) -> tuple[Constants, Removal]:
        """Fold constant units and remove dead ones; readers of groups that stay are left alone."""
        start, staying = self.surgery.mark(), dict[str, str]()
        while True:
            constants = self._fold(coupling, staying)
            removal = self._remove(coupling, _tolerances(constants))
            refused = {n: why for n, why in removal.refused.items() if n in constants.folded}
            if not refused:
                removal.refused.update(staying)
                return constants, removal
            self.surgery.undo(to=start)
            staying |= refused

    def _fold(self, coupling: Coupling, staying: Collection[str]) -> Constants:
        """Fold constant units into their readers, if the model then computes the same.

        Args:
            coupling: of the model.
            staying: names of groups whose units cannot be removed: nothing is folded for them.

        Returns:
            What was folded, and what was not.
        """
        dead = self._dead(coupling)
        if not may_be_constant(self._model, coupling, dead):
            return Constants()
        check, start = self.check, self.surgery.mark()
        constants = fold_constants(self._model, self.surgery, coupling, dead, staying)
        if not constants.folded:
            return constants
        try:
            errors = check.check(self._model, _tolerances(constants))
        except VerificationError as error:
            self.surgery.undo(to=start)
            refused = dict.fromkeys(constants.folded, f"its constant: {error}")
            return Constants(kept=constants.kept | refused)
        return replace(constants, errors=errors)

    def _followed(self, coupling: Coupling) -> Traces:
        """Return the recordings that the smaller model must follow; a copy to measure never trains.

        Its train mode would take as long again.
        """
        return coupling.traces if self._verified else coupling.traces.in_eval_mode()

    def _remove(self, coupling: Coupling, tolerances: Mapping[torch.dtype, float]) -> Removal:
        """Remove what can be removed."""
        # A path that only other inputs take, such as one for larger images, was not recorded. Where
        # the smaller model differs on such inputs, they are recorded too, and it is tried again.
        start = self.surgery.mark()
        full = self.before if start == self._first_mark else None  # else it has changed already
        recorded: list[ExampleInputs] = []
        lost: dict[str, str] = {}
        while True:
            dead = self._dead(coupling, self._round_to)
            removal = Removal(self._model, self.surgery, coupling, dead)
            seen = recorded if len(recorded) < _MOST_COUNTEREXAMPLES else None
            try:
                if removal.wanted:
                    traces = self._followed(coupling)
                    checks = Checks(self._model, self.check, traces, tolerances, seen, full)
                    removal.attempt(removal.wanted, checks)
                break
            except CounterexampleError as found:
                self.surgery.undo(to=start)
                recorded.append(found.inputs)
                wanted = [coupling.groups[index].name for index in removal.wanted]
                coupling = self._couple(recorded)
                left = {group.name for group in coupling.groups}
                lost |= {name: str(found) for name in wanted if name not in left}
        removal.refused.update(lost)
        return removal


def _tolerances(constants: Constants) -> Mapping[torch.dtype, float]:
    """Return how far outputs may be apart after a folding."""
    # A bias is rounded to its own type, which arithmetic in float64 sees.
    return FOLDED_TOLERANCES if constants.rounds else TOLERANCES
