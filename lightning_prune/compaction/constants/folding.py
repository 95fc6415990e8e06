"""Folding: units that are the same for every input go into what reads them.

Zero weights under a bias, or a scale of zero under a shift, leave a unit that says the same for
every input. Its readers add the same to each of their outputs: that goes into their bias, or into
the running mean of the batch norm behind them, and the unit is no longer read. Only what is proved
to be one constant at every place, in eval and in train mode, is folded; other units stay, with the
reason.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from lightning_prune.compaction.constants.propagation import Unproved
from lightning_prune.compaction.constants.readers import Reader, Readers, Unfoldable
from lightning_prune.compaction.constants.reading import Reading, read_constants
from lightning_prune.compaction.plan import Plan
from lightning_prune.compaction.surgery import Surgery
from lightning_prune.compaction.verification import Errors
from lightning_prune.coupling import Coupling
from lightning_prune.coupling.forecast import Trace
from lightning_prune.units.group import Group
from lightning_prune.units.zeros import where_not_zero


@dataclass(frozen=True)
class Constants:
    """What became of units that are constant but not zero.

    Args:
        folded: group → how many of its units are no longer read.
        kept: group → why others, with a weight of zeros that writes them, stay.
        rounds: whether a bias that took up constants was rounded to less than float64.
        errors: largest differences from the masked model after folding.
        plan: the tensors that take up constants.
    """

    folded: dict[str, int] = field(default_factory=dict)
    kept: dict[str, str] = field(default_factory=dict)
    rounds: bool = False
    errors: Errors = field(default_factory=Errors)
    plan: Plan = field(default_factory=Plan)


def may_be_constant(model: nn.Module, coupling: Coupling, dead: Sequence[Tensor]) -> bool:
    """Tell whether any unit that is not dead has a weight that writes it and is all zero."""
    tensors = _tensors(model)
    units = zip(coupling.groups, dead, strict=True)
    return any(bool((_unwritten(group, tensors) & ~gone.cpu()).any()) for group, gone in units)


def fold_constants(
    model: nn.Module,
    surgery: Surgery,
    coupling: Coupling,
    dead: Sequence[Tensor],
    staying: Collection[str] = (),
) -> Constants:
    """Let readers take up the units that are proved constant and not dead already.

    Args:
        model: the masked model; what changes in it goes through ``surgery``.
        surgery: writes down every change.
        coupling: of the model.
        dead: for each group where a unit is dead already, shape ``[units]``.
        staying: names of groups whose units cannot be removed: nothing is folded for them.

    Returns:
        What was folded, and what was not.
    """
    tensors = _tensors(model)
    alive = {group.name: ~gone.cpu() for group, gone in zip(coupling.groups, dead, strict=True)}
    groups = [group for group in coupling.groups if group.name not in staying]
    unwritten = {g.name: _unwritten(g, tensors) & alive[g.name] for g in groups}
    suspects = [name for name, units in unwritten.items() if units.any()]
    sources = _Sources(model, coupling.traces.traces, groups)
    if all(name in sources.reasons for name in suspects):  # others are constant only behind these
        return Constants(kept={name: sources.reasons[name] for name in suspects})
    sources.read()
    folded, kept, changes = {}, {}, _Changes(tensors)
    for group in groups:
        choice = sources.choose(group, alive[group.name])
        if bool((unwritten[group.name] & ~choice.units).any()):
            kept[group.name] = choice.reason
        if bool(choice.units.any()):
            folded[group.name] = int(choice.units.sum())
            for reader in sources.readers[group.name]:
                changes.take_up(reader, sources.readings[reader].numbers, choice.units)
    plan = Plan(values=changes.rounded())
    surgery.apply(plan)
    return Constants(folded, kept, changes.rounds, plan=plan)


def _tensors(model: nn.Module) -> dict[str, Tensor]:
    return {name: p.detach() for name, p in model.named_parameters()} | dict(model.named_buffers())


def _unwritten(group: Group, tensors: Mapping[str, Tensor]) -> Tensor:
    """Tell which units have a weight that writes them and is all zero, shape ``[units]``."""
    unwritten = torch.zeros(group.units, dtype=torch.bool)
    for member in group.parameters:
        tensor = tensors[member.axis.tensor]
        is_weight = tensor.dim() > 1 or member.axis.tensor.endswith("weight")
        if member.side == "out" and is_weight and member.axis.dim >= 0:
            line = where_not_zero(tensor, member.axis.dim)
            unwritten |= ~member.gather(line.cpu()).any(1)
    return unwritten


@dataclass(frozen=True, eq=False)
class _Choice:
    """Which units of a group can be folded, and why others cannot."""

    units: Tensor
    reason: str


class _Sources:
    """What the readers of every group read.

    Args:
        model: the masked model.
        traces: recordings of it.
        groups: those whose constant units are looked for.

    Attributes:
        readers: of each group whose readers can take up constants.
        readings: what they read.
        reasons: of each other group, why not.
    """

    def __init__(self, model: nn.Module, traces: Sequence[Trace], groups: Sequence[Group]) -> None:
        self._model, self._traces = model, traces
        self.readers: dict[str, list[Reader]] = {}
        self.readings: dict[Reader, Reading] = {}
        self.reasons: dict[str, str] = {}
        readers = Readers(self._traces)
        for group in groups:
            try:
                self.readers[group.name] = readers.of(group)
            except Unfoldable as reason:
                self.reasons[group.name] = str(reason)

    def read(self) -> None:
        """Find out what all readers read."""
        everything = [reader for found in self.readers.values() for reader in found]
        try:
            self.readings = read_constants(self._model, self._traces, everything)
        except Unproved as reason:
            self.reasons = {name: str(reason) for name in self.readers} | self.reasons

    def choose(self, group: Group, units: Tensor) -> _Choice:
        """Return which of some units of a group can be folded."""
        if group.name in self.reasons:
            return _Choice(torch.zeros_like(units), self.reasons[group.name])
        reason = "something other than a weight reads it"
        if group.exposed is not None:
            units = units & ~group.exposed
        for reader in self.readers[group.name]:
            reading = self.readings[reader]
            constant = reader.member.gather(reading.constant).all(1)
            if bool((units & ~constant).any()):
                reason = reading.reason
            units = units & constant
        return _Choice(units, reason)


class _Changes:
    """What the weights and biases of readers become: biases are added up, then rounded once.

    Args:
        tensors: parameters and buffers, by name.
    """

    def __init__(self, tensors: Mapping[str, Tensor]) -> None:
        self._tensors = tensors
        self._weights: dict[str, Tensor] = {}
        self._lines: dict[str, Tensor] = {}

    def take_up(self, reader: Reader, numbers: Tensor, units: Tensor) -> None:
        """Move what a reader reads from constant units into its bias, or the mean behind it."""
        channels = reader.member.owned_by(units)
        name, dim = reader.member.axis.tensor, reader.member.axis.dim
        weight = self._weights.get(name, self._tensors[name])
        positions = channels.to(weight.device)
        columns = weight.double().index_select(dim, positions).movedim(dim, 1)
        total = columns.flatten(2).sum(2) if columns.dim() > 2 else columns
        added = total @ numbers[channels].to(total.device)
        target = reader.target
        line = self._lines.get(target, self._tensors[target].double())
        self._lines[target] = line + added if reader.mean is None else line - added
        self._weights[name] = weight.index_fill(dim, positions, 0.0)

    @property
    def rounds(self) -> bool:
        """Whether anything is rounded to less than float64."""
        return any(self._tensors[name].dtype != torch.float64 for name in self._lines)

    def rounded(self) -> dict[str, Tensor]:
        """Return everything that changes, by name, in the types that it has."""
        lines = {name: line.to(self._tensors[name].dtype) for name, line in self._lines.items()}
        return self._weights | lines
