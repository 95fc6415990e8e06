"""Rules for normalisations: over a batch, over groups of channels, over trailing dimensions."""

from __future__ import annotations

from lightning_prune.coupling.align import Operand, align
from lightning_prune.coupling.graph import Node, Ref
from lightning_prune.coupling.labels import Plane
from lightning_prune.coupling.propagate import Planes, Propagation
from lightning_prune.coupling.rules.base import rule

_NOT_ZERO = (
    "a norm of what is not zero where a unit is. Positions and the like are zeroed with the units "
    "if they are kept in a buffer or a parameter, not computed in each pass"
)


@rule("aten::batch_norm")
def batch_norm(p: Propagation, node: Node) -> list[Planes]:
    # y[b, c, ...] = (x[b, c, ...] - mean[c]) / sqrt(var[c] + eps) weight[c] + bias[c]
    # ties: x.1 ~ mean.0 ~ var.0 ~ weight.0 ~ bias.0 ~ y.1; positions stay, training needs them all
    x, weight, bias, mean, var = node.args[:5]
    rank = len(p.shape(x))
    planes = p.fuse_all(p.planes(x), set(range(rank)) - {1}, "in the statistics of a batch")
    vectors = [ref for ref in (weight, bias, mean, var) if ref is not None]
    operands = [Operand(p.shape(x), planes), *(_on_channel(p, ref, rank) for ref in vectors)]
    shifted_to_zero = weight is not None and bias is not None
    return [align(p, operands, lambda zero: shifted_to_zero and zero[1] and zero[2])]


@rule("aten::group_norm")
def group_norm(p: Propagation, node: Node) -> list[Planes]:
    # y[b, c, ...] = (x[b, c, ...] - mean[b, g]) / sqrt(var[b, g] + eps) weight[c] + bias[c], c in g
    # ties: x.1 ~ weight.0 ~ bias.0 ~ y.1; all channels of a group, if there are several; positions
    # stay. Of a single group a removed channel is zero, but counts in the statistics.
    x, groups = node.args[:2]
    weight, bias = node.argument("weight"), node.argument("bias")
    rank = len(p.shape(x))
    planes = p.fuse_all(p.planes(x), range(2, rank), "normalised over a labelled position")
    for plane in planes:
        if 1 not in plane.varying:
            continue
        if weight is None:
            p.freeze(plane.ids, "a number of groups that cannot shrink")
        elif groups == 1:
            _expose_zeros(p, plane)
        channels = plane.ids.transpose(0, 1).reshape(groups, p.shape(x)[1] // groups, -1)
        if groups > 1:
            p.tie(channels, channels[:, :1])
    if weight is not None and groups > 1:
        p.labels.grouped.add(p.name(weight) or "")
    vectors = [ref for ref in (weight, bias) if ref is not None]
    operands = [Operand(p.shape(x), planes), *(_on_channel(p, ref, rank) for ref in vectors)]
    return [align(p, operands, lambda zero: all(zero[1:]))]


def _expose_zeros(p: Propagation, plane: Plane) -> None:
    """Say that what is zero where it is removed still counts in statistics."""
    if plane.zero:
        p.labels.expose(plane.ids)
    else:
        p.freeze(plane.ids, _NOT_ZERO)


@rule("aten::layer_norm", "aten::rms_norm")
def trailing_norm(p: Propagation, node: Node) -> list[Planes]:
    # y[..., d] = (x[..., d] - mean[...]) / sqrt(var[...] + eps) weight[d] + bias[d]
    # ties: x.d ~ weight.d ~ bias.d ~ y.d; a removed x.d is zero, but counts in the statistics
    x, sizes = node.args[:2]
    weight, bias = node.argument("weight"), node.argument("bias")
    rank, last = len(p.shape(x)), len(p.shape(x)) - 1
    vectors = [ref for ref in (weight, bias) if ref is not None]
    if len(sizes) > 1:
        p.freeze_all(vectors, "the width of a norm")
        planes = p.fuse_all(
            p.planes(x), range(rank - len(sizes), rank), "normalised over a labelled dimension"
        )
        return [[Plane(plane.ids, zero=False) for plane in planes]]
    planes = []
    for plane in p.planes(x):
        if plane.varying != {last}:
            # Of heads times features the heads are kept apart: each is normalised by itself.
            planes += p.fuse_all([plane], {last}, "normalised over a labelled dimension")
        else:
            _expose_zeros(p, plane)
            planes += [plane] if plane.zero else []
    operands = [Operand(p.shape(x), planes), *(_on_dim(p, ref, rank, last) for ref in vectors)]
    centred = node.name == "aten::layer_norm"
    if weight is None:  # what was zero is minus the mean, or stays zero
        return [align(p, operands, lambda zero: not centred and zero[0])]
    return [align(p, operands, lambda zero: all(zero[1:]) or (zero[0] and bias is None))]


def _on_channel(p: Propagation, vector: Ref, rank: int) -> Operand:
    return _on_dim(p, vector, rank, 1)


def _on_dim(p: Propagation, vector: Ref, rank: int, dim: int) -> Operand:
    shape = tuple(p.shape(vector)[0] if d == dim else 1 for d in range(rank))
    return Operand(shape, [Plane(q.ids.reshape(shape), q.zero) for q in p.planes(vector)])
