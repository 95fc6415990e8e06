"""Reading: the constants that weights read from each of their channels, as far as proved."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from lightning_prune.compaction.constants.changing import find_changing
from lightning_prune.compaction.constants.known import Known, are_equal
from lightning_prune.compaction.constants.propagation import ConstantPropagation, Unproved
from lightning_prune.compaction.constants.readers import Reader, Use
from lightning_prune.coupling.forecast import Trace


@dataclass(frozen=True, eq=False)
class Reading:
    """What a weight reads.

    Args:
        numbers: what each of its channels holds, shape ``[channels]``.
        constant: which channels hold that for any input, in eval and in train mode.
        reason: why others do not.
    """

    numbers: Tensor
    constant: Tensor
    reason: str


def read_constants(
    model: nn.Module, traces: Sequence[Trace], readers: Sequence[Reader]
) -> dict[Reader, Reading]:
    """Return what readers read.

    Args:
        model: the masked model.
        traces: recordings of it, in eval and in train mode.
        readers: of these recordings.

    Returns:
        A reading for each reader.

    Raises:
        Unproved: if nothing is proved about one of the recordings.
    """
    if 2 * sum(trace.training for trace in traces) < len(traces):  # each example has two
        raise Unproved("the model does not run in train mode on the examples")
    changing = find_changing(model, traces)
    tensors = {name: p.detach() for name, p in model.named_parameters()}
    tensors |= dict(model.named_buffers())
    tensors = {name: tensor for name, tensor in tensors.items() if name not in changing}
    read: dict[Use, Known | None] = {}
    of_graph: dict[int, dict[int, list[Known | None]]] = {}  # of a pass made twice, the same holds
    for number, trace in enumerate(traces):
        uses = [use for reader in readers for use in reader.uses if use.trace == number]
        places = {use.place for use in uses}
        found = of_graph.get(id(trace.graph), {})
        if not found or not places <= found.keys():
            found = of_graph[id(trace.graph)] = ConstantPropagation(trace, tensors).run(places)
        for use in uses:
            read[use] = found[use.place][use.node.inputs.index(use.data)]
    return {reader: _merge(reader, read, changing) for reader in readers}


def _merge(reader: Reader, read: Mapping[Use, Known | None], changing: set[str]) -> Reading:
    name = reader.member.axis.tensor
    none = torch.zeros(reader.member.size, dtype=torch.bool)
    if name in changing or reader.bias in changing:
        return Reading(none.double(), none, f"a forward pass changes {name} or its bias")
    lines = [_numbers_of(read[use], use, reader.member.size) for use in reader.uses]
    constant = torch.stack([line.isfinite() for line in lines]).all(0)
    reason = f"nothing proves that {name} reads the same always"
    same = torch.stack([are_equal(line, lines[0]) for line in lines]).all(0)
    if bool((constant & ~same).any()):
        constant, reason = constant & same, f"{name} reads something else in train mode"
    if any(use.pads for use in reader.uses) and bool((constant & (lines[0] != 0)).any()):
        constant, reason = constant & (lines[0] == 0), f"{name} reads it, which pads it with zeros"
    return Reading(lines[0], constant, reason)


def _numbers_of(known: Known | None, use: Use, channels: int) -> Tensor:
    """Return what is the same at all positions of each channel, NaN where nothing is."""
    if known is None:
        return torch.full((channels,), torch.nan, dtype=torch.float64)
    dim = known.varies.dim() + use.channel
    others = [d for d in range(known.varies.dim()) if d != dim]
    uniform = known.is_uniform(others).flatten() if others else ~known.varies
    numbers = known.numbers.double().movedim(dim, 0).reshape(channels, -1)[:, 0]
    return torch.where(uniform, numbers, torch.nan).cpu()
