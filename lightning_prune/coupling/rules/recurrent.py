"""Rules for recurrent layers: LSTM, GRU and plain RNN, of several layers, in both directions.

All gates, layers and directions share the hidden index, because a recurrent module has one hidden
size. A removed unit starts at zero and stays there: its candidate state is tanh(0) or relu(0).
"""

from __future__ import annotations

import torch
from torch import Tensor

from lightning_prune.coupling.graph import Node, Ref
from lightning_prune.coupling.labels import Plane
from lightning_prune.coupling.propagate import Planes, Propagation
from lightning_prune.coupling.rules.base import rule


@rule("aten::lstm", "aten::gru", "aten::rnn_tanh", "aten::rnn_relu")
def recurrent(p: Propagation, node: Node) -> list[Planes]:
    # h[t] = f(x[t, i] w_ih[g h, i] + h[t-1, j] w_hh[g h, j]) for every gate g
    # ties: x.-1 ~ w_ih.1 of the first layer; w_ih.0 ~ w_hh.0 ~ biases.0 (each gate) ~ w_hh.1
    #       ~ w_ih.1 of the next layer ~ h.-1
    if node.op._overloadname == "data":
        p.freeze_all(node.inputs, "a recurrent layer over packed sequences")
        return []
    x, state, weights, biased, layers, _, _, both, _ = node.args
    directions = 2 if both else 1
    per_cell = 4 if biased else 2
    states = state if isinstance(state, (list, tuple)) else [state]
    hidden = p.shape(weights[1])[1]
    if len(weights) != per_cell * layers * directions:
        p.freeze_all(node.inputs, "a recurrent layer with projections")
        return []
    cells = [weights[i : i + per_cell] for i in range(0, len(weights), per_cell)]
    units = _couple_cells(p, cells, hidden)
    last = len(p.shape(x)) - 1
    planes = p.planes(x)
    for layer in range(layers):
        for cell in cells[layer * directions : (layer + 1) * directions]:
            columns = p.axis_plane(cell[0], 1)
            if layer == 0:
                rest = p.contract(x, last, columns, planes)
            elif columns is not None:
                p.labels.read(columns.ids)
                p.tie(columns.ids, units.repeat(directions))
    p.fuse_all(rest, range(last), "positions of a sequence")
    for ref in states:
        _start_at_zero(p, ref, units)
    shape = [1] * last + [directions * hidden]
    output = Plane(units.repeat(directions).reshape(shape), zero=True)
    final = [Plane(units.reshape([1] * (len(p.shape(ref)) - 1) + [-1]), True) for ref in states]
    return [[output], *([plane] for plane in final)]


def _couple_cells(p: Propagation, cells: list[list[Ref]], hidden: int) -> Tensor:
    """Tie the hidden index of every cell and return its ids, shape ``[hidden]``."""
    units: Tensor | None = None
    for cell in cells:
        columns = p.axis_ids(cell[1], 1)
        if columns is None:
            columns = torch.zeros(hidden, dtype=torch.int64)
        p.labels.read(columns)
        units = columns if units is None else units
        p.tie(columns, units)
        for ref in cell:
            rows = p.axis_ids(ref, 0)
            if rows is not None:
                p.tie(rows.reshape(-1, hidden), units)
    return units if units is not None else torch.zeros(hidden, dtype=torch.int64)


def _start_at_zero(p: Propagation, state: Ref, units: Tensor) -> None:
    """Tie the initial state; one that comes from outside has a size that cannot shrink."""
    planes = p.planes(state)
    last = len(p.shape(state)) - 1
    own = p.axis_ids(state, last)
    if own is not None:
        p.tie(own, units)
    if not all(plane.zero for plane in planes):
        p.freeze(units, "an initial state that is not zero")
    elif own is None and p.is_input(state):
        p.freeze(units, "an initial state of fixed size")
