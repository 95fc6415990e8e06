"""Bypass: take out residual branches that add nothing but zeros.

The sum that added a branch is reduced to its shortcut in the source, together with the statements
that served the branch alone; modules of it that are called all the same do nothing from then on.
Its parameters keep their names and become empty. Branches that cannot be taken out are named with
the reason and stay.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import torch
from torch import Tensor, nn

from lightning_prune.compaction.branches.idling import idle
from lightning_prune.compaction.branches.zeros import zero_values
from lightning_prune.compaction.completion import completed, free_attentions
from lightning_prune.compaction.plan import Plan, plan_emptying
from lightning_prune.compaction.rewriting import Edit, edits_of, joined, rewritten
from lightning_prune.compaction.rewriting.call_site import CallSite
from lightning_prune.compaction.surgery import Surgery
from lightning_prune.compaction.verification import Check, Errors
from lightning_prune.coupling.branches import Branch, Sum
from lightning_prune.coupling.modes import Recording, record_modes
from lightning_prune.errors import ExampleInputsError, RewriteError, VerificationError
from lightning_prune.modules.inputs import ExampleInputs
from lightning_prune.modules.twin import twin
from lightning_prune.runtime.callees import callees_of
from lightning_prune.runtime.corrections import KeepTerm
from lightning_prune.units.group import GroupCount
from lightning_prune.units.zeros import is_zero


def dead_branches(model: nn.Module, branches: Iterable[Branch]) -> list[Branch]:
    """Return the branches that add zeros, whatever the model is given."""
    tensors = {name: t.detach() for name, t in model.named_parameters()}
    zero = {name for name, t in tensors.items() if is_zero(t)}
    tensors |= dict(model.named_buffers())
    suspects = [branch for branch in branches if not zero.isdisjoint(branch.parameters)]
    return [b for b in suspects if all(_adds_zeros(one, tensors) for one in _different(b.sums))]


def zeroable(model: nn.Module, branches: Iterable[Branch]) -> list[Branch]:
    """Return the branches that add zeros, whatever the model is given, once they are zeroed.

    An exponential of zeros is none, and a weight that is divided by its norm has none then.
    """
    parameters = {name: t.detach() for name, t in model.named_parameters()}
    shapes = {name: t.shape for name, t in parameters.items()}
    tensors = parameters | dict(model.named_buffers())
    found = []
    for branch in branches:
        zeroed = [member.axis.tensor for member in branch.group(shapes).zeroed]
        after = tensors | {name: torch.zeros_like(tensors[name]) for name in zeroed}
        if all(_adds_zeros(one, after) for one in _different(branch.sums)):
            found.append(branch)
    return found


def _different(sums: Iterable[Sum]) -> list[Sum]:
    """Return the sums without those of a pass that was recorded twice, the same way."""
    return list({(id(one.graph), one.index): one for one in sums}.values())


def _adds_zeros(one: Sum, tensors: Mapping[str, Tensor]) -> bool:
    return one.branch in zero_values(one.graph, one.inside, tensors)


class Bypass:
    """What is taken out of one model.

    Args:
        model: the masked model.
        surgery: changes it in place.
        examples: arguments for its methods, on its device.
        branches: those to take out.
    """

    def __init__(
        self,
        model: nn.Module,
        surgery: Surgery,
        examples: Sequence[ExampleInputs],
        branches: Sequence[Branch],
    ) -> None:
        self.plan = Plan()
        self.accepted: list[Branch] = []
        self.refused: dict[str, str] = {}
        self.errors = Errors()
        self._model = model
        self._surgery = surgery
        self._start = surgery.mark()
        self._examples = examples
        self._branches = list(branches)
        self._full = twin(model) if branches else model
        self._silenced: dict[str, dict[str, list[Edit]]] = {}

    @property
    def counts(self) -> tuple[GroupCount, ...]:
        """What became of each branch."""
        return tuple(GroupCount(b.name, 1, int(b in self.accepted)) for b in self._branches)

    def attempt(self, verification: Check) -> None:
        """Take out as many branches as the model stays the same without.

        Args:
            verification: made from the model before.
        """
        possible = []
        for branch in self._branches:
            try:
                self._classes(self._edits([branch]))
            except RewriteError as error:
                if not self._silence(branch):
                    self.refused[branch.name] = str(error)
                    continue
            possible.append(branch)
        self._attempt(possible, verification)

    def _attempt(self, candidates: list[Branch], verification: Check) -> None:
        while candidates:
            try:
                faults = self._take_out([*self.accepted, *candidates])
                if not faults:
                    self.errors = verification.check(self._model)
                    self.accepted += candidates
                    return
            except (RewriteError, VerificationError, ExampleInputsError) as error:
                half = len(candidates) // 2
                if half:
                    self._attempt(candidates[:half], verification)
                    self._attempt(candidates[half:], verification)
                    return
                faults = {candidates[0].name: str(error)}
            self.refused |= faults
            candidates = [branch for branch in candidates if branch.name not in faults]
        self._take_out(self.accepted)

    def _take_out(self, branches: Sequence[Branch]) -> dict[str, str]:
        """Take out just these branches; tell which ones cannot be, and why."""
        self._surgery.undo(to=self._start)
        self.plan = Plan()
        if not branches:
            return {}
        self._rewrite(self._edits([b for b in branches if b.name not in self._silenced]))
        for branch in branches:
            self._rewrite(self._silenced.get(branch.name, {}))
        now = self._used()
        left = [name for branch in branches for name in branch.parameters if name in now]
        reasons: Mapping[str, str] = {}
        if left:
            found = idle(self._full, self._examples, branches, left)
            self._rewrite({name: [edit] for name, edit in found.edits.items()})
            reasons, now = found.reasons, self._used()
        owners = {b.name: next((n for n in b.parameters if n in now), "") for b in branches}
        faults = {
            branch: reasons.get(name, f"{name} would be computed with all the same")
            for branch, name in owners.items()
            if name
        }
        if not faults:
            # Of eval mode alone: what training leaves out at random is still needed.
            before = _used(one for one in branches[0].recordings if not one.training)
            self._empty(sorted(before - now))
        return faults

    def _used(self) -> set[str]:
        """Return the names of the parameters and buffers with which the model computes."""
        return _used(record_modes(self._model, self._examples))

    def _edits(self, branches: Sequence[Branch]) -> dict[str, list[Edit]]:
        """Return the edits that reduce the sums to their shortcuts, by module."""
        sums = [one for branch in branches for one in branch.sums]
        indices = {(id(one.graph), one.index) for one in sums}
        edits: dict[str, list[Edit]] = {}
        for one in sums:
            called = one.node.site
            same = [
                i for i, n in enumerate(one.graph) if n.site == called and n.name == one.node.name
            ]
            if called is None or any((id(one.graph), i) not in indices for i in same):
                raise RewriteError("its sum is written by code that serves other sums as well")
            kind = edits_of(type(self._model.get_submodule(called.module)))[0]
            site = CallSite.of(kind, one.node)
            correction = KeepTerm(one.shortcut, _is_written(one))
            edit = Edit(site.method, site.path, site.fitting(correction), site.digest)
            known = edits.setdefault(called.module, [])
            known += [edit] if edit not in known else []
        return edits

    def _silence(self, branch: Branch) -> bool:
        """Plan to let the last module of a branch add zero; tell whether that can be."""
        found = idle(self._full, self._examples, [branch], branch.parameters, silent=True)
        if not found.reasons:
            self._silenced[branch.name] = {name: [edit] for name, edit in found.edits.items()}
        return not found.reasons

    def _classes(self, edits: Mapping[str, Sequence[Edit]]) -> dict[str, type[nn.Module]]:
        """Return what classes modules have after edits, by name."""
        found = {}
        for name, later in edits.items():
            module = self._model.get_submodule(name)
            kind, before = edits_of(type(module))
            found[name] = rewritten(kind, joined(before, later), callees_of(module))
        return found

    def _rewrite(self, edits: Mapping[str, Sequence[Edit]]) -> None:
        self._apply(Plan(edits={name: tuple(found) for name, found in edits.items()}))

    def _apply(self, plan: Plan) -> None:
        self._surgery.apply(plan)
        self.plan = self.plan.then(plan)

    def _empty(self, names: Sequence[str]) -> None:
        tensors = dict(self._model.named_parameters()) | dict(self._model.named_buffers())
        plan = plan_emptying({name: tensor.shape for name, tensor in tensors.items()}, names)
        self._apply(completed(plan, self._model))
        # In eval mode torch would hand all parameters of these layers to one fused kernel.
        attentions = [
            f"{name}.self_attn".lstrip(".")
            for name, layer in self._model.named_modules()
            if isinstance(layer, nn.TransformerEncoderLayer) and _lacks_some(layer)
        ]
        self._apply(Plan(swaps=free_attentions(self._model, attentions)))


def _used(recordings: Iterable[Recording]) -> set[str]:
    """Return the names of the parameters and buffers that some recordings have used."""
    return {v.name for one in recordings for v in one.graph.values if v.name is not None}


def _lacks_some(layer: nn.TransformerEncoderLayer) -> bool:
    """Tell whether some parameter is empty."""
    return any(not parameter.numel() for parameter in layer.parameters())


def _is_written(one: Sum) -> bool:
    """Tell whether a later operation writes into the memory of a sum, or of its shortcut."""
    kept = {one.node.results[0], one.node.args[one.shortcut]}
    later = one.graph.nodes[one.index + 1 :]
    return any(n.writes and not kept.isdisjoint([*n.inputs[:1], *n.aliases]) for n in later)
