"""Rules for products with a weight matrix, and for embeddings."""

from __future__ import annotations

import math
from dataclasses import replace

from lightning_prune.coupling.align import Operand, align
from lightning_prune.coupling.graph import Node, Ref
from lightning_prune.coupling.labels import Plane
from lightning_prune.coupling.propagate import Planes, Propagation
from lightning_prune.coupling.rules.base import rule


@rule("aten::linear")
def linear(p: Propagation, node: Node) -> list[Planes]:
    # y[..., o] = x[..., i] w[o, i] + bias[o]   ties: x.-1 ~ w.1, w.0 ~ bias.0 ~ y.-1
    return [_product(p, node, node.args[0], node.args[1], True, node.argument("bias"))]


@rule("aten::matmul", "aten::mm", "aten::bmm")
def matmul(p: Propagation, node: Node) -> list[Planes]:
    # y[..., o] = x[..., i] w[i, o]   ties: x.-1 ~ w.0, w.1 ~ y.-1
    return [_product(p, node, node.args[0], node.args[1], False, None)]


@rule("aten::addmm")
def addmm(p: Propagation, node: Node) -> list[Planes]:
    # y[n, o] = bias[o] + x[n, i] w[i, o]   ties: x.1 ~ w.0, w.1 ~ bias.-1 ~ y.1
    bias, x, weight = node.args[:3]
    if node.argument("beta", 1) != 1 or node.argument("alpha", 1) != 1:
        p.freeze_all(node.inputs, "a scaled sum")
        return []
    if len(p.shape(bias)) > 1:
        p.freeze_all(node.inputs, "a bias that differs from row to row")
        return []
    return [_product(p, node, x, weight, False, bias)]


@rule("aten::embedding")
def embedding(p: Propagation, node: Node) -> list[Planes]:
    # y[..., e] = w[index[...], e]   ties: w.1 ~ y.-1; the rows are picked by data
    weight, index = node.args[:2]
    p.freeze_all([index], "used as an index")
    planes = p.fuse_all(p.planes(weight), {0}, "rows are picked by data")
    for plane in planes:
        p.labels.write(plane.ids)
    lead = [1] * len(p.shape(index))
    return [[Plane(plane.ids.reshape(*lead, -1), plane.zero) for plane in planes]]


def _product(
    p: Propagation, node: Node, x: Ref, weight: Ref, transposed: bool, bias: Ref | None
) -> Planes:
    """Couple ``y = x w`` (or ``x wᵀ`` when ``transposed``) for a matrix of weights ``w``."""
    if len(p.shape(weight)) != 2 or not p.shape(x) or not p.is_static(weight):
        p.freeze_all(node.inputs, "a product of two activations")
        return []
    out_dim, in_dim = (0, 1) if transposed else (1, 0)
    last = len(p.shape(x)) - 1
    p.price(weight, math.prod(p.shape(x)[:-1]))
    reads, writes = p.axis_plane(weight, in_dim), p.axis_plane(weight, out_dim)
    rest = p.contract(x, last, reads, p.planes(x))
    return carried(rest, bias) + with_bias(p, writes, bias, last + 1, last)


def carried(planes: Planes, bias: Ref | None) -> Planes:
    """Return the planes of dimensions that a product with a weight leaves alone.

    Args:
        planes: those of the value that is read.
        bias: what is added everywhere, also where a coordinate is removed; or None.

    Returns:
        The planes of the result.
    """
    return [replace(q, zero=q.zero and bias is None) for q in planes]


def with_bias(
    p: Propagation, writes: Plane | None, bias: Ref | None, rank: int, dim: int
) -> Planes:
    """Return the plane that a weight writes on dimension ``dim``, tied to its bias.

    Args:
        p: the propagation at hand.
        writes: the weight's writing axis, ids of shape ``[size]``.
        bias: a vector, or None.
        rank: rank of the output.
        dim: the dimension of the output that is written.

    Returns:
        No plane or one.
    """
    if writes is None:
        if bias is not None:
            p.freeze_all([bias], "added to an output that cannot shrink")
        return []
    p.labels.write(writes.ids)
    operands = [Operand(tuple(writes.ids.shape), [writes])]
    if bias is not None:
        operands.append(Operand(p.shape(bias), p.planes(bias)))
    shape = [-1 if d == dim else 1 for d in range(rank)]
    return [
        Plane(plane.ids.reshape(-1).reshape(shape), plane.zero) for plane in align(p, operands, all)
    ]
