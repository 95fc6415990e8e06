"""Rules for activations that look at more than one number, or have parameters."""

from __future__ import annotations

from dataclasses import replace

from lightning_prune.coupling.align import Operand, align
from lightning_prune.coupling.graph import Node
from lightning_prune.coupling.labels import Plane
from lightning_prune.coupling.propagate import Planes, Propagation
from lightning_prune.coupling.rules.base import rule


@rule("aten::prelu")
def prelu(p: Propagation, node: Node) -> list[Planes]:
    # y[b, c, ...] = max(0, x[b, c, ...]) + weight[c] min(0, x[b, c, ...])
    # ties: x.1 ~ weight.0 ~ y.1
    x, weight = node.args
    rank = len(p.shape(x))
    channel = 1 if rank > 1 else 0
    shape = tuple(p.shape(weight)[0] if d == channel else 1 for d in range(rank))
    vector = [Plane(q.ids.reshape(shape), q.zero) for q in p.planes(weight)]
    operands = [Operand(p.shape(x), p.planes(x)), Operand(shape, vector)]
    return [align(p, operands, lambda zero: zero[0])]


@rule("aten::glu")
def glu(p: Propagation, node: Node) -> list[Planes]:
    # y[..., d] = x[..., d] sigmoid(x[..., D + d])   ties: the halves of x, x.d ~ y.d
    x = node.args[0]
    dim = node.argument("dim", -1) % len(p.shape(x))
    half = p.shape(x)[dim] // 2
    planes = []
    for plane in p.planes(x):
        ids = plane.ids
        if dim in plane.varying:
            p.tie(ids.narrow(dim, 0, half), ids.narrow(dim, half, half))
            ids = ids.narrow(dim, 0, half)
        planes.append(replace(plane, ids=ids))
    return [planes]


@rule(
    *(
        f"aten::{name}"
        for name in "softmax _softmax _safe_softmax log_softmax _log_softmax softmin".split()
    )
)
def softmax(p: Propagation, node: Node) -> list[Planes]:
    # y[..., d] = exp(x[..., d]) / sum over d   ties: y.d ~ x.d for the other dims; d stays
    x = node.args[0]
    dim = node.argument("dim", -1) % len(p.shape(x))
    planes = p.fuse_all(p.planes(x), {dim}, "normalised over a labelled dimension")
    return [[Plane(plane.ids, zero=False) for plane in planes]]
