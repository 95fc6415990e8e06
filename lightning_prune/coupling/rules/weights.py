"""Rules for operations on weights alone: what reparametrizes a weight before it is used."""

from __future__ import annotations

from dataclasses import replace

from lightning_prune.coupling.align import Operand, align
from lightning_prune.coupling.graph import Node
from lightning_prune.coupling.labels import Plane
from lightning_prune.coupling.propagate import Planes, Propagation
from lightning_prune.coupling.rules.base import rule


@rule("aten::_weight_norm", "aten::_weight_norm_interface")
def weight_norm(p: Propagation, node: Node) -> list[Planes]:
    # y[o, i, ...] = g[o] v[o, i, ...] / |v[o]|   ties: v.0 ~ g.0 ~ y.0, v.d ~ y.d
    # (``dim`` instead of 0). A removed row of g is zero; that of v must not be: its length divides.
    # Any other removed part of v must be zero, for it counts in the lengths.
    v, g = node.args[:2]
    dim = node.argument("dim", 0)
    rank = len(p.shape(v))
    own = {dim % rank} if dim != -1 else set()
    for plane in p.planes(v):
        if plane.varying <= own:
            p.labels.shape_only(plane.ids)
        else:
            p.expose(plane.ids)
    lengths = Operand(p.shape(g), p.planes(g))
    if own and len(p.shape(g)) == 1:
        lengths = _as_column(lengths, dim % rank, rank)
    values = [lengths, Operand(p.shape(v), p.planes(v))]
    # Of a removed row, g alone is zero.
    weight = [
        replace(plane, zero=plane.zero or plane.varying <= own)
        for plane in align(p, values, lambda zero: zero[1])
    ]
    return [weight, p.planes(g)]


@rule("aten::norm_except_dim")
def norm_except_dim(p: Propagation, node: Node) -> list[Planes]:
    # y[o, 1, ...] = |v[o]|   ties: v.0 ~ y.0 (``dim`` instead of 0)
    v, dim = node.args[0], node.argument("dim", 0)
    rank = len(p.shape(v))
    own = {dim % rank} if dim != -1 else set()
    kept = []
    for plane in p.planes(v):
        if plane.varying <= own:
            kept.append(plane)
        elif plane.zero and not plane.varying & own:
            p.expose(plane.ids)
        else:
            kept += p.fuse_all([plane], plane.varying - own, "in the length of a weight")
    return [kept]


@rule("aten::dot", "aten::vdot")
def dot(p: Propagation, node: Node) -> list[Planes]:
    # y = sum over i of a[i] b[i]   ties: a.0 ~ b.0; a removed coordinate adds zero
    operands = [Operand(p.shape(ref), p.planes(ref)) for ref in node.args]
    for plane in align(p, operands, any):
        if plane.zero:
            p.expose(plane.ids)
        else:
            p.freeze(plane.ids, "a removed coordinate would add a constant")
    return []


def _as_column(vector: Operand, dim: int, rank: int) -> Operand:
    shape = [vector.shape[0] if d == dim else 1 for d in range(rank)]
    planes = [Plane(plane.ids.reshape(shape), plane.zero) for plane in vector.planes]
    return Operand(tuple(shape), planes)
