"""Rules for operations that move elements without changing them.

There is no index arithmetic here: the operation itself is run on the ids.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from lightning_prune.coupling.align import Operand, align
from lightning_prune.coupling.graph import Node, Ref
from lightning_prune.coupling.labels import Plane
from lightning_prune.coupling.propagate import Planes, Propagation
from lightning_prune.coupling.rules.base import rule


@rule(
    *(
        f"aten::{name}"
        for name in (
            "permute transpose t numpy_T matrix_H mT swapaxes swapdims movedim moveaxis flip"
        ).split()
    ),
    moves=True,
)
def permute(p: Propagation, node: Node) -> list[Planes]:
    # y[..., j, i, ...] = x[..., i, j, ...]   ties: y carries the ids of x to where they go
    # No size is given, so the ids need not be expanded to that of x.
    x = _source(node)
    return [[replace(q, ids=node.op(q.ids, *node.args[1:], **node.kwargs)) for q in p.planes(x)]]


@rule(
    *(
        f"aten::{name}"
        for name in (
            "clone contiguous detach alias lift_fresh to _to_copy type_as float double half "
            "bfloat16"
        ).split()
    ),
    moves=True,
)
def duplicate(p: Propagation, node: Node) -> list[Planes]:
    # y = x, perhaps elsewhere or in another type   ties: y carries the ids of x
    return [p.planes(_source(node))]


@rule("aten::roll")
def roll(p: Propagation, node: Node) -> list[Planes]:
    # y[..., i + n, ...] = x[..., i, ...]   ties: y.d ~ x.d for the other dims
    x = _source(node)
    return [p.fuse_all(p.planes(x), _dims(node, p.shape(x)), "moved by position")]


@rule("aten::unfold", "aten::diagonal", "aten::rot90")
def shift(p: Propagation, node: Node) -> list[Planes]:
    # y = f(x) where the position of an element decides where it goes   ties: all along those dims
    x = _source(node)
    dims = _dims(node, p.shape(x))
    kept = p.fuse_all(p.planes(x), dims, "moved by position")
    return run_on_ids(p, node, node.op, kept)


@rule("aten::tril", "aten::triu")
def triangle(p: Propagation, node: Node) -> list[Planes]:
    # y[..., n, m] = x[..., n, m] or 0   ties: y.d ~ x.d but for the last two dims
    x = _source(node)
    rank = len(p.shape(x))
    return [p.fuse_all(p.planes(x), {rank - 1, rank - 2}, "set to zero by position")]


def _dims(node: Node, shape: tuple[int, ...]) -> set[int]:
    rank = len(shape)
    if node.name == "aten::unfold":
        return {node.argument("dimension") % rank}
    dims = node.argument("dims") if node.name in {"aten::roll", "aten::rot90"} else None
    return {dim % rank for dim in dims} if dims else set(range(rank))


@rule("aten::slice", "aten::narrow", moves=True)
def cut(p: Propagation, node: Node) -> list[Planes]:
    # y = x[..., a:b, ...]   ties: y carries the ids of its part; every n-th position must stay
    dim = node.argument("dim", 0)
    if node.argument("step", 1) == 1:
        return _parts(p, node, dim)
    return run_on_ids(p, node, node.op, _picked(p, node, dim))


@rule("aten::select", "aten::unbind", moves=True)
def pick(p: Propagation, node: Node) -> list[Planes]:
    # y_j = x[..., j, ...]   ties: all j
    return run_on_ids(p, node, node.op, _picked(p, node, node.argument("dim", 0)))


@rule("aten::split", "aten::split_with_sizes", "aten::unsafe_split", moves=True)
def split(p: Propagation, node: Node) -> list[Planes]:
    # y_j = x[..., part j, ...] with sizes given as numbers   ties: y_j carries the ids of its part
    return _parts(p, node, node.argument("dim", 0))


@rule("aten::chunk", "aten::unsafe_chunk", "aten::tensor_split", moves=True)
def chunk(p: Propagation, node: Node) -> list[Planes]:
    # y_j = x[..., part j, ...] in equal parts   ties: the i-th coordinate of every part
    if node.argument("indices") is not None:
        return _parts(p, node, node.argument("dim", 0))
    x = _source(node)
    dim = node.argument("dim", 0) % len(p.shape(x))
    sizes = {p.shape(ref)[dim] for ref in node.results}
    planes = []
    for plane in p.planes(x):
        if dim in plane.varying and len(sizes) > 1:
            p.freeze(plane.ids, "chunks of unequal size")
            continue
        if dim in plane.varying:
            parts = plane.ids.split(next(iter(sizes)), dim)
            for part in parts[1:]:
                p.tie(part, parts[0])
        planes.append(plane)
    return run_on_ids(p, node, node.op, planes)


def _picked(p: Propagation, node: Node, dim: int) -> Planes:
    x = _source(node)
    return p.fuse_all(p.planes(x), {dim % len(p.shape(x))}, "elements are picked by position")


def _parts(p: Propagation, node: Node, dim: int) -> list[Planes]:
    """Carry ids to the parts of ``x`` along ``dim``; none of the parts may vanish."""
    x = _source(node)
    dim %= len(p.shape(x))
    outputs: list[Planes] = [[] for _ in node.results]
    for plane in p.planes(x):
        parts = run_on_ids(p, node, node.op, [plane])
        single = [q for part in parts for q in part if q.ids.numel() and dim not in q.varying]
        if dim in plane.varying and single and not _may_stay(p, x, plane, dim):
            fused = p.fuse_all([plane], {dim}, "a part of one")
            parts = run_on_ids(p, node, node.op, fused)
        elif dim in plane.varying:
            for part in single:
                p.freeze(part.ids, "a part of one")
            if p.is_static(x) and not p.is_used_whole(x):
                p.labels.cut(plane.ids, [q.ids for part in parts for q in part])
        for output, moved in zip(outputs, parts, strict=True):
            output += moved
    return outputs


def _may_stay(p: Propagation, x: Ref, plane: Plane, dim: int) -> bool:
    """Tell whether parts of one coordinate along ``dim`` may stay, while others of it go."""
    # Beside heads of queries, one head of keys and one of values stay. Of any other grid, what it
    # has along the dimension goes together.
    if len(plane.varying) == 1:
        return True
    leads = len(plane.varying) == 2 and dim == min(plane.varying)
    return leads and max(p.parts(x, dim)) > 1


@rule("aten::cat", "aten::concat", "aten::concatenate")
def cat(p: Propagation, node: Node) -> list[Planes]:
    # y[..., :, ...] = x_0 ++ x_1 ++ ...   ties: y.d carries the ids of all x_i.d, other dims tied
    parts = [ref for ref in node.args[0] if 0 not in p.shape(ref)]
    if not parts:
        return [[]]
    rank = len(p.shape(parts[0]))
    dim = node.argument("dim", 0) % rank
    values = [Operand(p.shape(ref), p.planes(ref)) for ref in parts]
    if len({_beside(one, dim) for one in values}) > 1:
        values = [replace(one, planes=p.keep_leading(one.planes, dim)) for one in values]
    along = [_along(p, one, dim) for one in values]
    joined = []
    if any(plane.varying for plane in along):
        rest = torch.broadcast_shapes(*(plane.ids.narrow(dim, 0, 1).shape for plane in along))
        ids = [
            plane.ids.expand(*(plane.ids.shape[d] if d == dim else rest[d] for d in range(rank)))
            for plane in along
        ]
        joined.append(Plane(torch.cat(ids, dim), all(plane.zero for plane in along)))
    across = [
        Operand(
            tuple(1 if d == dim else size for d, size in enumerate(one.shape)),
            [plane for plane in one.planes if dim not in plane.varying],
        )
        for one in values
    ]
    return [joined + align(p, across, all)]


def _beside(one: Operand, dim: int) -> frozenset[int]:
    """Return the other dimensions along which labels on ``dim`` vary."""
    on_dim = [plane.varying for plane in one.planes if dim in plane.varying]
    return frozenset(set().union(*on_dim) - {dim})


def _along(p: Propagation, one: Operand, dim: int) -> Plane:
    """Return the plane of a value on ``dim``; id 0 where it has none."""
    shape = [size if d == dim else 1 for d, size in enumerate(one.shape)]
    found = [plane for plane in one.planes if dim in plane.varying]
    for plane in found[1:]:
        p.freeze(plane.ids, "a second label on one dimension")
    return found[0] if found else Plane(torch.zeros(shape, dtype=torch.int64), zero=False)


@rule("aten::stack")
def stack(p: Propagation, node: Node) -> list[Planes]:
    # y[..., j, ...] = x_j   ties: x_i.d ~ x_j.d for every d
    parts = list(node.args[0])
    dim = node.argument("dim", 0) % (len(p.shape(parts[0])) + 1)
    planes = align(p, [Operand(p.shape(ref), p.planes(ref)) for ref in parts], all)
    return [[replace(plane, ids=plane.ids.unsqueeze(dim)) for plane in planes]]


@rule("aten::pad", "aten::constant_pad_nd")
def pad(p: Propagation, node: Node) -> list[Planes]:
    # y = x with a border   ties: y.d carries the ids of x.d, the border has id 0 (immovable)
    x = _source(node)
    widths, value = list(node.argument("pad")), node.argument("value", 0) or 0
    rank = len(p.shape(x))
    padded = {rank - 1 - index // 2 for index, width in enumerate(widths) if width}
    constant = node.argument("mode", "constant") == "constant" and min(widths, default=0) >= 0
    planes = []
    for plane in p.planes(x):
        kept: Plane | None = plane
        if plane.varying & padded and not constant:
            kept = p.fuse(plane, padded, "padded with its own elements")
        elif plane.varying & padded:
            amounts = [
                width if rank - 1 - index // 2 in plane.varying else 0
                for index, width in enumerate(widths)
            ]
            kept = replace(plane, ids=torch.nn.functional.pad(plane.ids, amounts))
        if kept is not None:
            planes.append(replace(kept, zero=plane.zero and value == 0))
    return [planes]


def _source(node: Node) -> Ref:
    source: Ref = node.args[0]
    return source


def run_on_ids(p: Propagation, node: Node, op: Any, planes: Planes) -> list[Planes]:
    """Run a layout operation on the ids of its first argument, expanded to its shape.

    Args:
        p: the propagation at hand.
        node: the operation, with the rest of its arguments.
        op: what to run.
        planes: of the first argument.

    Returns:
        The planes of each output.
    """
    shape = p.shape(_source(node))
    outputs: list[Planes] = [[] for _ in node.results]
    for plane in planes:
        try:
            moved = op(plane.ids.expand(shape), *node.args[1:], **node.kwargs)
        except (RuntimeError, NotImplementedError):
            p.freeze(plane.ids, "this form of the operation does not run on labels")
            continue
        for index, ids in enumerate(moved if isinstance(moved, (list, tuple)) else [moved]):
            outputs[index].append(replace(plane, ids=compress(ids)))
    return outputs


def compress(ids: Tensor) -> Tensor:
    """Give size 1 to the dimensions along which the ids do not differ."""
    repeated = [dim for dim, size in enumerate(ids.shape) if size > 1 and ids.stride(dim) == 0]
    for dim in repeated:  # first, for what is left to compare is much smaller then
        ids = ids.narrow(dim, 0, 1)
    for dim, size in enumerate(ids.shape):
        first = ids.narrow(dim, 0, min(size, 1))
        if size > 1 and bool((ids == first).all()):
            ids = first
    return ids
