"""Rules for normalisations: over a batch, over groups of channels, over trailing dimensions."""

from __future__ import annotations

from lightning_prune.coupling.align import Operand, align
from lightning_prune.coupling.graph import Node, Ref
from lightning_prune.coupling.labels import Plane
from lightning_prune.coupling.propagate import Planes, Propagation
from lightning_prune.coupling.rules.base import rule


@rule("aten::batch_norm")
def batch_norm(p: Propagation, node: Node) -> list[Planes]:
    # y[b, c, ...] = (x[b, c, ...] - mean[c]) / sqrt(var[c] + eps) w[c] + bias[c]
    # ties: x.1 ~ mean.0 ~ var.0 ~ w.0 ~ bias.0 ~ y.1; positions stay, for training needs them all
    x, weight, bias, mean, var = node.args[:5]
    rank = len(p.shape(x))
    planes = p.fuse_all(p.planes(x), set(range(rank)) - {1}, "in the statistics of a batch")
    vectors = [ref for ref in (weight, bias, mean, var) if ref is not None]
    operands = [Operand(p.shape(x), planes), *(_on_channel(p, ref, rank) for ref in vectors)]
    shifted_to_zero = weight is not None and bias is not None
    return [align(p, operands, lambda zero: shifted_to_zero and zero[1] and zero[2])]


@rule("aten::group_norm")
def group_norm(p: Propagation, node: Node) -> list[Planes]:
    # y[b, c, ...] = (x[b, c, ...] - mean[b, g]) / sqrt(var[b, g] + eps) w[c] + bias[c], c in g
    # ties: x.1 ~ w.0 ~ bias.0 ~ y.1; all channels of a group; positions stay
    x, groups = node.args[:2]
    weight, bias = node.argument("weight"), node.argument("bias")
    rank = len(p.shape(x))
    planes = p.fuse_all(p.planes(x), range(2, rank), "normalised over a labelled position")
    for plane in planes:
        if 1 in plane.varying:
            if weight is None or groups == 1:
                p.freeze(plane.ids, "a number of groups that cannot shrink")
            channels = plane.ids.transpose(0, 1).reshape(groups, p.shape(x)[1] // groups, -1)
            p.tie(channels, channels[:, :1])
    if weight is not None:
        p.labels.grouped.add(p.name(weight) or "")
    vectors = [ref for ref in (weight, bias) if ref is not None]
    operands = [Operand(p.shape(x), planes), *(_on_channel(p, ref, rank) for ref in vectors)]
    return [align(p, operands, lambda zero: all(zero[1:]))]


@rule("aten::layer_norm", "aten::rms_norm")
def trailing_norm(p: Propagation, node: Node) -> list[Planes]:
    # y[..., d] = (x[..., d] - mean[...]) / sqrt(var[...] + eps) w[d] + bias[d]
    # ties: y.d ~ x.d for the leading dims; the normalised dims stay
    x = node.args[0]
    rank = len(p.shape(x))
    normalised = range(rank - len(node.argument("normalized_shape")), rank)
    p.freeze_all(node.inputs[1:], "the width of a norm")
    planes = p.fuse_all(p.planes(x), normalised, "normalised over a labelled dimension")
    return [[Plane(plane.ids, zero=False) for plane in planes]]


def _on_channel(p: Propagation, vector: Ref, rank: int) -> Operand:
    shape = tuple(p.shape(vector)[0] if dim == 1 else 1 for dim in range(rank))
    return Operand(shape, [Plane(q.ids.reshape(shape), q.zero) for q in p.planes(vector)])
