"""Rules for tensors filled with one value, and for values repeated along new coordinates.

Along such a dimension all coordinates hold the same, so any of them may go. They get ids of their
own, which lie on no parameter and freeze nothing by themselves: a state that starts from zeros
shrinks with the layer that it meets.
"""

from __future__ import annotations

from dataclasses import replace

import torch

from lightning_prune.coupling.graph import Node, Ref
from lightning_prune.coupling.labels import Plane
from lightning_prune.coupling.propagate import Planes, Propagation
from lightning_prune.coupling.rules.base import rule


@rule(
    *(f"aten::{name}" for name in "zeros ones full empty".split()),
    *(f"aten::new_{name}" for name in "zeros ones full empty".split()),
    creates=True,
)
def fill(p: Propagation, node: Node) -> list[Planes]:
    # y[...] = one value   ties: nothing
    value = node.argument("fill_value", 1)
    zero = node.name.endswith("zeros") or (node.name.endswith("full") and value == 0)
    y = node.results[0]
    return [[replace(_fresh(p, y, d), zero=zero) for d, size in enumerate(p.shape(y)) if size > 1]]


@rule("aten::expand", "aten::expand_as", "aten::repeat", "aten::tile", creates=True, moves=True)
def repeat(p: Propagation, node: Node) -> list[Planes]:
    # y[..., n i + j, ...] = x[..., j, ...]   ties: every copy carries the ids of x; where x has
    # one coordinate, its copies are new ones
    x, y = node.args[0], node.results[0]
    lead = len(p.shape(y)) - len(p.shape(x))
    sizes = (*[1] * lead, *p.shape(x))
    moved = [_copied(plane, lead, p.shape(y)) for plane in p.planes(x)]
    new = [d for d, size in enumerate(p.shape(y)) if sizes[d] == 1 and size > 1]
    copies = [_fresh(p, y, dim) for dim in new]
    if node.name == "aten::expand_as":
        copies = [plane for plane in copies if _follows(p, plane, node.args[1])]
    return [moved + copies]


@rule("aten::repeat_interleave", creates=True, moves=True)
def repeat_interleave(p: Propagation, node: Node) -> list[Planes]:
    # y[..., n i + j, ...] = x[..., i, ...]   ties: every copy carries the ids of x; where x has
    # one coordinate, its copies are new ones
    x, repeats, dim = node.args[0], node.argument("repeats"), node.argument("dim")
    rank = len(p.shape(x))
    if dim is None or not isinstance(repeats, int):
        p.freeze_all([ref for ref in node.inputs if ref != x], "used as an index")
        dims = set(range(rank)) if dim is None else {dim % rank}
        planes = p.fuse_all(p.planes(x), dims, "elements are picked by data")
        return [[] if dim is None else planes]
    along = dim % rank
    copied = [
        replace(q, ids=q.ids.repeat_interleave(repeats, along)) if along in q.varying else q
        for q in p.planes(x)
    ]
    is_one = p.shape(x)[along] == 1 and repeats > 1
    return [[*copied, _fresh(p, node.results[0], along)] if is_one else copied]


def _follows(p: Propagation, copies: Plane, other: Ref) -> bool:
    """Tie copies to the size of another value; False if that size stays."""
    (dim,) = copies.varying
    leading = True
    for plane in p.planes(other):
        if dim in plane.varying and min(plane.varying) == dim:
            p.tie(copies.ids, plane.ids)
        elif dim in plane.varying:
            p.fuse(plane, {dim}, "")
            leading = False
    return leading


def _copied(plane: Plane, lead: int, shape: tuple[int, ...]) -> Plane:
    ids = plane.ids.reshape(*[1] * lead, *plane.ids.shape)
    times = [size // own if own > 1 else 1 for size, own in zip(shape, ids.shape, strict=True)]
    return replace(plane, ids=ids.repeat(times))


def _fresh(p: Propagation, ref: Ref, dim: int) -> Plane:
    shape = [size if d == dim else 1 for d, size in enumerate(p.shape(ref))]
    ids: torch.Tensor = p.labels.fresh(shape[dim]).reshape(shape)
    return Plane(ids, zero=False, uniform=True)
