"""Rules for attention, and for the complex numbers by which some models rotate its queries.

Attention written by hand needs no rule of its own: it is a product, a softmax and a product. Heads
come out as units because the labels of projections vary along heads and features there, and of the
two the leading one is kept; a single head can lose features instead.
"""

from __future__ import annotations

from dataclasses import replace

import torch

from lightning_prune.coupling.align import Operand, align
from lightning_prune.coupling.graph import Node, Ref
from lightning_prune.coupling.propagate import Planes, Propagation
from lightning_prune.coupling.rules.base import rule
from lightning_prune.coupling.rules.product import matrix_product


@rule("aten::scaled_dot_product_attention")
def attention(p: Propagation, node: Node) -> list[Planes]:
    # y[b, h, n, e] = sum over m of w[b, h, n, m] v[b, h, m, e]
    # w[b, h, n, m] = softmax over m of (q[b, h, n, d] k[b, h, m, d] + mask[b, h, n, m])
    # ties: q.h ~ k.h ~ mask.h ~ v.h ~ y.h, q.d ~ k.d, v.e ~ y.e, q.n ~ y.n; m stays
    q, k, v = (_operand(p, ref) for ref in node.args[:3])
    if node.argument("enable_gqa", False):
        k, v = (_repeated(one, q.shape[-3]) for one in (k, v))
    lead = torch.broadcast_shapes(q.shape[:-2], k.shape[:-2])
    shape = (*lead, q.shape[-2], k.shape[-2])
    scores = Operand(shape, matrix_product(p, q, _transposed(k)))
    mask = node.argument("attn_mask")
    if mask is not None:
        scores = replace(scores, planes=align(p, [scores, _operand(p, mask)], all))
    stay = {len(shape) - 1, len(shape) - 1 - bool(node.argument("is_causal", False))}
    planes = p.fuse_all(scores.planes, stay, "normalised over a labelled dimension")
    w = Operand(shape, [replace(plane, zero=False) for plane in planes])
    return [matrix_product(p, w, v)]


def _operand(p: Propagation, ref: Ref) -> Operand:
    return Operand(p.shape(ref), p.planes(ref))


def _transposed(one: Operand) -> Operand:
    planes = [replace(plane, ids=plane.ids.transpose(-2, -1)) for plane in one.planes]
    return Operand((*one.shape[:-2], one.shape[-1], one.shape[-2]), planes)


def _repeated(one: Operand, heads: int) -> Operand:
    """Repeat every head of keys or values for the queries of its group."""
    if one.shape[-3] == 1:  # like any other value of size 1 it meets all queries
        return one
    times = heads // one.shape[-3]
    planes = [
        replace(plane, ids=plane.ids.repeat_interleave(times, -3))
        if plane.ids.shape[-3] > 1
        else plane
        for plane in one.planes
    ]
    return Operand((*one.shape[:-3], heads, *one.shape[-2:]), planes)


@rule("aten::view_as_complex")
def view_as_complex(p: Propagation, node: Node) -> list[Planes]:
    # y[...] = x[..., 0] + i x[..., 1]   ties: the two parts of a number
    planes = p.fuse_all(
        p.planes(node.args[0]), {len(p.shape(node.args[0])) - 1}, "parts of a number"
    )
    return [[replace(plane, ids=plane.ids[..., 0]) for plane in planes]]


@rule("aten::view_as_real")
def view_as_real(p: Propagation, node: Node) -> list[Planes]:
    # y[..., 0] + i y[..., 1] = x[...]   ties: both parts carry the ids of x
    return [[replace(plane, ids=plane.ids.unsqueeze(-1)) for plane in p.planes(node.args[0])]]
