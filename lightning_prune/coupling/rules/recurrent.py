"""Rules for recurrent layers: LSTM, GRU and plain RNN, of several layers, in both directions.

All gates, layers and directions share the hidden index, because a recurrent module has one hidden
size; with projections they share the projected index as well. A removed unit that starts at zero
stays there: its candidate state is tanh(0) or relu(0).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from lightning_prune.coupling.graph import Node, Ref
from lightning_prune.coupling.labels import Plane
from lightning_prune.coupling.propagate import Planes, Propagation
from lightning_prune.coupling.rules.base import rule
from lightning_prune.coupling.rules.product import read


@dataclass(frozen=True, eq=False)
class _Layers:
    """The cells of a recurrent layer, in the order of its layers and directions.

    Args:
        cells: weights that read the input and the state, perhaps biases, perhaps a projection.
        directions: cells in one layer.
        projected: whether the last weight of a cell is a projection.
    """

    cells: list[list[Ref]]
    directions: int
    projected: bool

    @classmethod
    def of(cls, node: Node) -> _Layers:
        weights = node.argument("params")
        directions = 2 if node.argument("bidirectional") else 1
        count = node.argument("num_layers") * directions
        per_cell = len(weights) // count
        cells = [weights[i : i + per_cell] for i in range(0, len(weights), per_cell)]
        return cls(cells, directions, bool(per_cell % 2))


@rule("aten::lstm", "aten::gru", "aten::rnn_tanh", "aten::rnn_relu")
def recurrent(p: Propagation, node: Node) -> list[Planes]:
    # h[t] = f(x[t, i] w_ih[g h, i] + h[t-1, j] w_hh[g h, j]) for every gate g
    # ties: x.-1 ~ w_ih.1 of the first layer; w_ih.0 ~ w_hh.0 ~ biases.0 (each gate) ~ w_hh.1
    #       ~ w_ih.1 of the next layer ~ h.-1
    # with a projection h[t, j] = w_hr[j, h] s[t, h]: gates ~ w_hr.1, w_hr.0 ~ w_hh.1 ~ h.-1
    layers, x = _Layers.of(node), node.args[0]
    hidden = _tie_gates(p, layers)
    written = _tie_projections(p, layers, hidden) if layers.projected else hidden
    last = len(p.shape(x)) - 1
    for ref in (ref for cell in layers.cells for ref in cell if len(p.shape(ref)) == 2):
        p.price(ref, math.prod(p.shape(x)[:last]))  # once for every step of every sequence
    rest: Planes = []
    for index, cell in enumerate(layers.cells):
        columns = p.axis_plane(cell[0], 1)
        _read(p, p.axis_ids(cell[1], 1), written)
        if index < layers.directions:
            rest = read(p, p.planes(x), last, columns)
        elif columns is not None:
            _read(p, columns.ids, written.repeat(layers.directions))
    p.fuse_all(rest, range(last), "positions of a sequence")
    state = node.argument("hx")
    states = state if isinstance(state, (list, tuple)) else [state]
    owners = [written, hidden]  # of the output and of the memory
    starts = [_start(p, ref, ids) for ref, ids in zip(states, owners, strict=False)]
    # What a projection writes is zero whatever the memory was; the memory itself only fades.
    zeros = [True, starts[-1]] if layers.projected else [all(starts)] * len(starts)
    lead = [1] * last
    output = Plane(written.repeat(layers.directions).reshape([*lead, -1]), zeros[0])
    pairs = zip(owners, zeros, strict=False)
    final = [Plane(ids.reshape(1, 1, -1), zero) for ids, zero in pairs]
    return [[output], *([plane] for plane in final)]


def _tie_gates(p: Propagation, layers: _Layers) -> Tensor:
    """Tie the hidden index of every gate of every cell and return its ids, shape ``[hidden]``."""
    first = layers.cells[0]
    hidden = p.shape(first[-1] if layers.projected else first[1])[1]
    units: Tensor | None = None
    for cell in layers.cells:
        for ref in cell[:-1] if layers.projected else cell:
            rows = p.axis_ids(ref, 0)
            rows = torch.zeros(hidden, dtype=torch.int64) if rows is None else rows
            units = rows[:hidden] if units is None else units
            p.tie(rows.reshape(-1, hidden), units)
    return torch.zeros(hidden, dtype=torch.int64) if units is None else units


def _tie_projections(p: Propagation, layers: _Layers, hidden: Tensor) -> Tensor:
    """Let projections read the hidden index; return the ids that they write, ``[projected]``."""
    projected = p.shape(layers.cells[0][-1])[0]
    units: Tensor | None = None
    for cell in layers.cells:
        _read(p, p.axis_ids(cell[-1], 1), hidden)
        rows = p.axis_ids(cell[-1], 0)
        rows = torch.zeros(projected, dtype=torch.int64) if rows is None else rows
        units = rows if units is None else units
        p.tie(rows, units)
    return torch.zeros(projected, dtype=torch.int64) if units is None else units


def _read(p: Propagation, columns: Tensor | None, units: Tensor) -> None:
    if columns is None:
        p.freeze(units, "read by a weight that cannot shrink")
        return
    p.labels.read(columns)
    p.labels.tie(columns, units)


def _start(p: Propagation, state: Ref, units: Tensor) -> bool:
    """Tie an initial state and tell whether it is zero where a unit is removed."""
    last = len(p.shape(state)) - 1
    own = p.axis_plane(state, last)
    rest = [plane for plane in p.planes(state) if last not in plane.varying]
    p.fuse_all(rest, range(last), "positions of a sequence")
    if own is None:
        p.freeze(units, "an initial state of fixed size")
        return False
    p.labels.tie(own.ids, units)
    if not own.zero:
        p.labels.reads_constant(units)
    return own.zero


@rule("aten::_pack_padded_sequence")
def pack(p: Propagation, node: Node) -> list[Planes]:
    # y[t of b, i] = x[b, t, i]   ties: x.i ~ y.i; positions stay
    x, lengths = node.args[:2]
    p.freeze_all([lengths], "used as an index")
    planes = p.fuse_all(p.planes(x), {0, 1}, "positions of a sequence")
    return [[replace(plane, ids=plane.ids.squeeze(0)) for plane in planes]]


@rule("aten::_pad_packed_sequence")
def unpack(p: Propagation, node: Node) -> list[Planes]:
    # y[b, t, i] = x[t of b, i], elsewhere a padding value   ties: x.i ~ y.i; positions stay
    padding = node.argument("padding_value")
    planes = p.fuse_all(p.planes(node.args[0]), {0}, "positions of a sequence")
    return [[replace(q, ids=q.ids.unsqueeze(0), zero=q.zero and padding == 0) for q in planes]]
