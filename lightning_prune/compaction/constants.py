"""Constants: units that are dead but do not read as zero, folded into what reads them.

Zero weights under a bias, a shift of a batch norm or an activation with f(0) ≠ 0 leave a unit that
says the same for every input. Its readers add the same to each of their outputs: that goes into
their bias, or into the running mean of the batch norm behind them, and the unit is no longer read.
Whether a unit is constant is measured, in float64, where it is read. Where folding would not be
exact, as at borders padded with zeros, the unit stays, with the reason.
"""

from __future__ import annotations

import copy
from collections import ChainMap
from collections.abc import Iterator, Mapping, MutableMapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch._ops import OpOverload
from torch.utils._python_dispatch import TorchDispatchMode

from lightning_prune.compaction.surgery import Surgery
from lightning_prune.coupling import Coupling
from lightning_prune.coupling.forecast import Trace
from lightning_prune.coupling.graph import Graph, Node, Ref
from lightning_prune.coupling.record import composite_operations, decompose
from lightning_prune.coupling.rules import RULES
from lightning_prune.errors import ExampleInputsError
from lightning_prune.inputs import ExampleInputs
from lightning_prune.multihead import take_sizes_from_tensors
from lightning_prune.twin import twin
from lightning_prune.units import Group, Member

_ROUNDING = 1e-9


@dataclass(frozen=True)
class Constants:
    """What became of units that are dead but constant.

    Args:
        folded: group → how many of its units are no longer read.
        kept: group → why others stay.
    """

    folded: dict[str, int] = field(default_factory=dict)
    kept: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class _Reader:
    """An operation whose weight reads the units of a group."""

    index: int
    node: Node
    member: Member
    bias: str | None
    mean: str | None

    @property
    def x(self) -> Ref:
        """What is read."""
        x: Ref = self.node.args[1 if self.node.name == "aten::addmm" else 0]
        return x

    @property
    def pads(self) -> bool:
        """Whether zeros are put around what is read."""
        padding = self.node.argument("padding", 0)
        return padding not in (0, "valid") and any(_as_list(padding))


class _Unfoldable(Exception):  # noqa: N818 it carries the reason, and is never raised out of here
    """Why the units of a group stay."""


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
    readers: dict[str, list[_Reader]] = {}
    for name, (group, units) in silent.items():
        try:
            readers[name] = _readers(group, units, coupling.traces.traces[0])
        except _Unfoldable as reason:
            constants.kept[name] = str(reason)
    measured = _measure(model, inputs, [r for found in readers.values() for r in found])
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
            owned = line.cpu()[_positions(member, group.units)]
            silent |= ~owned.any(1)
    return silent


def _positions(member: Member, units: int) -> Tensor:
    return torch.arange(units)[:, None] if member.positions is None else member.positions


# Who reads.


def _readers(group: Group, units: Tensor, trace: Trace) -> list[_Reader]:
    if group.exposed is not None and bool((group.exposed & units).any()):
        raise _Unfoldable("something other than a weight reads it")
    readers = []
    for member in group.parameters:
        if member.side == "in":
            uses = [
                (index, node)
                for index, node in enumerate(trace.graph.nodes)
                if any(trace.graph[ref].name == member.axis.tensor for ref in node.inputs)
            ]
            if len(uses) != 1 or not _is_plain(uses[0][1], member, trace.graph):
                raise _Unfoldable(f"{member.axis.tensor} does not read it in a plain product")
            readers.append(_reader(*uses[0], member, trace.graph))
    if not readers:
        raise _Unfoldable("no weight reads it")
    return readers


_IN_DIMS = {
    "aten::linear": 1,
    "aten::conv1d": 1,
    "aten::conv2d": 1,
    "aten::conv3d": 1,
    "aten::addmm": 0,
}


def _is_plain(node: Node, member: Member, graph: Graph) -> bool:
    weight = node.args[2 if node.name == "aten::addmm" else 1] if len(node.args) > 1 else None
    return (
        _IN_DIMS.get(node.name) == member.axis.dim
        and isinstance(weight, Ref)
        and graph[weight].name == member.axis.tensor
        and node.argument("groups", 1) == 1
    )


def _reader(index: int, node: Node, member: Member, graph: Graph) -> _Reader:
    bias = node.args[0] if node.name == "aten::addmm" else node.argument("bias")
    name = graph[bias].name if isinstance(bias, Ref) else None
    mean = _running_mean(node, graph) if name is None else None
    if name is None and mean is None:
        raise _Unfoldable(f"{member.axis.tensor} has no bias to take it up")
    return _Reader(index, node, member, name, mean)


def _running_mean(node: Node, graph: Graph) -> str | None:
    """Return the running mean of the batch norm that alone takes what ``node`` returns."""
    takers = [other for other in graph if node.results[0] in other.inputs]
    if len(takers) != 1 or takers[0].name != "aten::batch_norm":
        return None
    mean = takers[0].argument("running_mean")
    return graph[mean].name if isinstance(mean, Ref) else None


# What they read.


def _measure(
    model: nn.Module, inputs: Sequence[ExampleInputs], readers: Sequence[_Reader]
) -> dict[int, Tensor]:
    """Return for every reader what each of its channels reads as, NaN where that changes."""
    if not readers:
        return {}
    copied = copy.deepcopy(twin(model)).double().eval()
    take_sizes_from_tensors(copied)
    found: list[dict[int, Tensor]] = []
    for given in inputs:
        watcher = _Watcher({reader.index: reader for reader in readers})
        given = given.on(copied).map(torch.clone)
        try:
            with torch.random.fork_rng(devices=[]), composite_operations(), watcher:
                given(copied)
        except ExampleInputsError:  # a model that makes float32 tensors on its way
            return {}
        found.append(watcher.found)
    return {index: _common([one.get(index) for one in found]) for index in found[0]}


def _common(values: Sequence[Tensor | None]) -> Tensor:
    known = [value for value in values if value is not None]
    return torch.where(_equal(known[0], known[-1]), known[0], torch.nan)


def _equal(a: Tensor, b: Tensor) -> Tensor:
    return (a - b).abs() <= _ROUNDING * a.abs().clamp_min(1)


class _Watcher(TorchDispatchMode):
    """Looks at what operations read, by their place in the recording."""

    def __init__(self, readers: Mapping[int, _Reader]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.found: dict[int, Tensor] = {}
        self._readers = readers
        self._index = 0

    def __torch_dispatch__(
        self,
        func: OpOverload,
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        kwargs = kwargs or {}
        result = decompose(self, func, RULES.__contains__, args, kwargs)
        if result is not NotImplemented:
            return result
        reader = self._readers.get(self._index)
        if reader is not None and func is reader.node.op:
            x = args[1 if reader.node.name == "aten::addmm" else 0]
            spatial = len(args[1].shape) - 2 if "conv" in reader.node.name else 0
            channel = x.dim() - 1 - spatial
            others = [d for d in range(x.dim()) if d != channel]
            low, high = x.amin(others), x.amax(others)
            self.found[self._index] = torch.where(_equal(low, high), low, torch.nan).cpu()
        self._index += 1
        return func(*args, **kwargs)


# What becomes of it.


def _foldable(
    group: Group,
    units: Tensor,
    readers: Sequence[_Reader],
    measured: Mapping[int, Tensor],
    constants: Constants,
) -> Tensor:
    """Return which of ``units`` are constant for all their readers; note why others are not."""
    for reader in readers:
        values = measured.get(reader.index)
        if values is None:
            constants.kept[group.name] = "what it reads as cannot be measured in float64"
            return torch.zeros_like(units)
        owned = values[_positions(reader.member, group.units)]
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
    reader: _Reader, values: Tensor, units: Tensor, tensors: MutableMapping[str, Tensor]
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


def _as_list(value: Any) -> Iterator[Any]:
    yield from value if isinstance(value, (list, tuple)) else [value]
