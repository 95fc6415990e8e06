"""Rules for reductions, pooling and interpolation: what is computed along some dimensions."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

from lightning_prune.coupling.align import Operand, align
from lightning_prune.coupling.graph import Node
from lightning_prune.coupling.labels import Plane
from lightning_prune.coupling.propagate import Planes, Propagation
from lightning_prune.coupling.rules.base import rule
from lightning_prune.coupling.rules.elementwise import elementwise


@rule(
    *(
        f"aten::{name}"
        for name in (
            "mean sum amax amin max min var std var_mean prod logsumexp norm linalg_vector_norm "
            "any all argmax argmin std_mean"
        ).split()
    )
)
def reduce(p: Propagation, node: Node) -> Sequence[Planes]:
    # y[...] = reduce over dims of x[...]   ties: y.d ~ x.d for the other dims; reduced dims stay,
    # but where it can count units that are zero once they are removed
    if len(node.inputs) > 1:
        return elementwise(p, node)  # max and min of two tensors
    x = node.inputs[0]
    dims = reduced_dims(node, len(p.shape(x)))
    summed = [q for q in p.planes(x) if q.varying <= dims and _counts_zeros(p, node, q, dims)]
    for plane in summed:
        p.expose(plane.ids)
    others = [q for q in p.planes(x) if not any(q is one for one in summed)]
    planes = p.fuse_all(others, dims, "reduced over a labelled dimension")
    zero = node.name not in {"aten::logsumexp", "aten::argmax", "aten::argmin"}
    out = []
    for plane in planes:
        ids = plane.ids
        if not node.argument("keepdim", False):
            for d in sorted(dims, reverse=True):
                ids = ids.select(d, 0)
        out.append(replace(plane, ids=ids, zero=plane.zero and zero))
    return _results(p, node, out)


REFILLED = frozenset(
    f"aten::{name}" for name in "var std var_mean std_mean max min amax amin logsumexp prod".split()
)
"""Reductions in which zeros count: what is removed is put back where they are called."""


def _counts_zeros(p: Propagation, node: Node, plane: Plane, dims: set[int]) -> bool:
    """Tell whether what is reduced may lose units, and the result stays what it is."""
    if node.name == "aten::all":
        return p.holds_of_zeros(node.inputs[0], plane)
    if not plane.zero:
        return p.centred(node.inputs[0]) == dims and len(plane.varying) == 1
    if node.name in REFILLED:
        # A position that is used decides, as the class of an output does: what it is of stays.
        values, *others = node.results
        indices = [ref for ref in others if p.dtype(ref) != p.dtype(values)]
        is_used = any(map(p.is_used, indices))
        return len(plane.varying) == 1 and node.site is not None and not is_used
    return _is_sum(node)


def _is_sum(node: Node) -> bool:
    """Tell whether zeros may join what is reduced without a change of the result."""
    if node.name in {"aten::norm", "aten::linalg_vector_norm"}:
        order = node.argument("ord", node.argument("p", 2))
        return order is None or (isinstance(order, (int, float)) and 0 < order < math.inf)
    return node.name in {"aten::sum", "aten::mean", "aten::any"}


def reduced_dims(node: Node, rank: int) -> set[int]:
    """Return the dimensions over which a reduction of a value of this rank runs."""
    dim = node.argument("dim")
    if dim is None or dim == []:
        return set(range(rank))
    return {d % rank for d in ([dim] if isinstance(dim, int) else dim)}


@rule(
    *(
        f"aten::{name}"
        for name in (
            "max_pool1d max_pool2d max_pool3d max_pool2d_with_indices avg_pool1d avg_pool2d "
            "avg_pool3d adaptive_avg_pool1d adaptive_avg_pool2d adaptive_avg_pool3d "
            "adaptive_max_pool1d adaptive_max_pool2d adaptive_max_pool3d "
            "_adaptive_avg_pool2d _adaptive_avg_pool3d "
            "upsample_nearest1d upsample_nearest2d upsample_nearest3d upsample_linear1d "
            "upsample_bilinear2d upsample_bicubic2d upsample_trilinear3d _upsample_nearest_exact1d "
            "_upsample_nearest_exact2d _upsample_nearest_exact3d _upsample_bilinear2d_aa "
            "_upsample_bicubic2d_aa reflection_pad1d reflection_pad2d reflection_pad3d "
            "replication_pad1d replication_pad2d replication_pad3d"
        ).split()
    )
)
def along_positions(p: Propagation, node: Node) -> list[Planes]:
    # y[b, c, ...] = f(x[b, c, ...]) along positions   ties: x.1 ~ y.1; positions stay
    x = node.inputs[0]
    rank = len(p.shape(x))
    spatial = int(next(character for character in node.name if character.isdigit()))
    positions = range(rank - spatial, rank)
    planes = p.fuse_all(p.planes(x), positions, "computed along a labelled position")
    return _results(p, node, planes)


@rule("aten::max_unpool2d", "aten::max_unpool3d")
def unpool(p: Propagation, node: Node) -> list[Planes]:
    # y[b, c, index[b, c, ...]] = x[b, c, ...]   ties: x.1 ~ index.1 ~ y.1; positions stay
    values = []
    for ref in node.args[:2]:
        shape = p.shape(ref)
        positions = range(len(shape) - int(node.name[-2]), len(shape))
        planes = p.fuse_all(p.planes(ref), positions, "computed along a labelled position")
        values.append(Operand(shape, planes))
    return [align(p, values, lambda zero: zero[0])]


def _results(p: Propagation, node: Node, planes: Planes) -> list[Planes]:
    """Return the planes of every output: those of another type are indices, which may be any."""
    x = node.inputs[0]
    indices = [replace(plane, zero=False) for plane in planes]
    return [planes if p.dtype(ref) == p.dtype(x) else indices for ref in node.results]
