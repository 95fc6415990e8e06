"""Constants: units that are dead but do not read as zero, folded into what reads them.

Zero weights under a bias, a shift of a batch norm or an activation with f(0) ≠ 0 leave a unit that
says the same for every input. Its readers add the same to each of their outputs: that goes into
their bias, or into the running mean of the batch norm behind them, and the unit is no longer read.
Whether a unit is constant is measured, in float64, where it is read. Where folding would not be
exact, as at borders padded with zeros, the unit stays, with the reason.
"""

from __future__ import annotations

from collections import ChainMap
from collections.abc import Mapping, MutableMapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from lightning_prune.compaction.constants.readers import Reader, Unfoldable, measure, readers_of
from lightning_prune.compaction.surgery import Surgery
from lightning_prune.coupling import Coupling
from lightning_prune.modules.inputs import ExampleInputs
from lightning_prune.units.group import Group


@dataclass(frozen=True)
class Constants:
    """What became of units that are dead but constant.

    Args:
        folded: group → how many of its units are no longer read.
        kept: group → why others stay.
    """

    folded: dict[str, int] = field(default_factory=dict)
    kept: dict[str, str] = field(default_factory=dict)


def fold_constants(
    model: nn.Module,
    surgery: Surgery,
    inputs: Sequence[ExampleInputs],
    coupling: Coupling,
    dead: Sequence[Tensor],
) -> Constants:
    """Let readers take up the constants of units that are otherwise dead.

    Args:
        model: the masked model; what changes in it goes through ``surgery``.
        surgery: writes down every change.
        inputs: arguments for its ``forward``.
        coupling: of the model.
        dead: for each group where a unit is dead already, shape ``[units]``.

    Returns:
        What was folded, and what was not.
    """
    tensors = _tensors(model)
    silent = _candidates(coupling, tensors, dead)
    constants = Constants()
    readers: dict[str, list[Reader]] = {}
    for name, (group, units) in silent.items():
        try:
            readers[name] = readers_of(group, units, coupling.traces.traces[0])
        except Unfoldable as reason:
            constants.kept[name] = str(reason)
    measured = measure(model, inputs, [r for found in readers.values() for r in found])
    changed: dict[str, Tensor] = {}
    for name, found in readers.items():
        group, units = silent[name]
        units = _foldable(group, units, found, measured, constants)
        if bool(units.any()):
            constants.folded[name] = int(units.sum())
            for reader in found:
                _take_up(reader, measured[reader.index], units, ChainMap(changed, tensors))
    own = dict(model.named_parameters()) | dict(model.named_buffers())
    for name, data in changed.items():
        surgery.replace(own[name], data)
    return constants


def may_be_constant(model: nn.Module, coupling: Coupling, dead: Sequence[Tensor]) -> bool:
    """Tell whether any unit that is not dead has a weight that writes it and is all zero."""
    return bool(_candidates(coupling, _tensors(model), dead))


def _tensors(model: nn.Module) -> dict[str, Tensor]:
    return {name: p.detach() for name, p in model.named_parameters()} | dict(model.named_buffers())


def _candidates(
    coupling: Coupling, tensors: Mapping[str, Tensor], dead: Sequence[Tensor]
) -> dict[str, tuple[Group, Tensor]]:
    found = {}
    for group, gone in zip(coupling.groups, dead, strict=True):
        units = _silent(group, tensors) & ~gone.cpu()
        if bool(units.any()):
            found[group.name] = (group, units)
    return found


def _silent(group: Group, tensors: Mapping[str, Tensor]) -> Tensor:
    """Tell which units have a weight that writes them and is all zero, shape ``[units]``."""
    silent = torch.zeros(group.units, dtype=torch.bool)
    for member in group.parameters:
        tensor = tensors[member.axis.tensor]
        is_weight = tensor.dim() > 1 or member.axis.tensor.endswith("weight")
        if member.side == "out" and is_weight and member.axis.dim >= 0:
            others = [d for d in range(tensor.dim()) if d != member.axis.dim]
            line = (tensor != 0).any(others) if others else tensor != 0
            silent |= ~member.gather(line.cpu()).any(1)
    return silent


def _foldable(
    group: Group,
    units: Tensor,
    readers: Sequence[Reader],
    measured: Mapping[int, Tensor],
    constants: Constants,
) -> Tensor:
    """Return which of ``units`` are constant for all their readers; note why others are not."""
    for reader in readers:
        values = measured.get(reader.index)
        if values is None:
            constants.kept[group.name] = "what it reads as cannot be measured in float64"
            return torch.zeros_like(units)
        owned = reader.member.gather(values)
        constant = owned.isfinite().all(1)
        if reader.pads:
            constant &= (owned == 0).all(1)
        if bool((units & ~constant).any()):
            constants.kept[group.name] = (
                f"it is not the same everywhere where {reader.member.axis.tensor} reads it"
                + (", which pads it with zeros" if reader.pads else "")
            )
        units = units & constant
    return units


def _take_up(
    reader: Reader, values: Tensor, units: Tensor, tensors: MutableMapping[str, Tensor]
) -> None:
    """Move what a reader reads from constant units into its bias."""
    channels = reader.member.owned_by(units)
    name, dim = reader.member.axis.tensor, reader.member.axis.dim
    weight = tensors[name]
    columns = weight.double().index_select(dim, channels.to(weight.device)).movedim(dim, 1)
    total = columns.flatten(2).sum(2) if columns.dim() > 2 else columns
    added = total @ values[channels].to(total.device)
    target, sign = (reader.bias, 1) if reader.bias is not None else (reader.mean, -1)
    if target is not None:
        tensors[target] = (tensors[target].double() + sign * added).to(tensors[target].dtype)
    tensors[name] = weight.index_fill(dim, channels.to(weight.device), 0.0)
