"""Rules for values sampled at positions: patches, grids, regions of interest, deformed kernels.

Channels are carried, positions stay, and so does whatever says where to sample.
"""

from __future__ import annotations

from dataclasses import replace

from lightning_prune.coupling.graph import Node, Ref
from lightning_prune.coupling.propagate import Planes, Propagation
from lightning_prune.coupling.rules.base import rule
from lightning_prune.coupling.rules.convolution import Convolution, couple_convolution

_SAMPLED = "sampled along a labelled position"


@rule("aten::grid_sampler", "aten::grid_sampler_2d", "aten::grid_sampler_3d")
def grid_sample(p: Propagation, node: Node) -> list[Planes]:
    # y[b, c, h, w] = x[b, c, grid[b, h, w, :]]   ties: x.1 ~ y.1; positions stay
    x, grid = node.args[:2]
    p.freeze_all([grid], "says where to sample")
    return [_channels(p, x)]


@rule("aten::affine_grid_generator")
def affine_grid(p: Propagation, node: Node) -> list[Planes]:
    # y[b, h, w, :] = theta[b] applied to the position of h, w   ties: nothing moves
    p.freeze_all(node.inputs, "says where to sample")
    return []


@rule("torchvision::roi_align", "torchvision::roi_pool")
def roi_align(p: Propagation, node: Node) -> list[Planes]:
    # y[r, c, h, w] = x[image of r, c, h and w within r]   ties: x.1 ~ y.1; positions stay
    x, boxes = node.args[:2]
    p.freeze_all([boxes], "says where to sample")
    return [_channels(p, x)]


@rule("torchvision::ps_roi_align", "torchvision::ps_roi_pool")
def position_sensitive_roi(p: Propagation, node: Node) -> list[Planes]:
    # y[r, c, h, w] = x[image of r, (c H + h) W + w, h and w within r]
    # ties: the H W channels of each c ~ y.1; positions stay
    x, boxes = node.args[:2]
    p.freeze_all([boxes], "says where to sample")
    channels = p.shape(node.results[0])[1]
    return [_blocks(p, _channels(p, x), 1, channels)]


@rule("torchvision::deform_conv2d")
def deformable_convolution(p: Propagation, node: Node) -> list[Planes]:
    # y[b, o, h, w] = bias[o]
    #   + sum of x[b, i, h + k + offset[b, k, h, w]] mask[b, k, h, w] weight[o, i, k]
    # ties: x.1 ~ weight.1, weight.0 ~ bias.0 ~ y.1; positions stay
    x, weight, offset, mask, bias = node.args[:5]
    groups, offset_groups = node.args[11], node.args[12]
    p.freeze_all([offset, mask], "says where to sample")
    for plane in p.planes(x):
        if 1 in plane.varying and offset_groups > 1:
            columns = plane.ids.unflatten(1, (offset_groups, -1))
            p.tie(columns, columns.narrow(1, 0, 1))
    return couple_convolution(p, node, Convolution(x, weight, bias, groups, False))


@rule("aten::im2col")
def patches(p: Propagation, node: Node) -> list[Planes]:
    # y[b, c K + k, l] = x[b, c, position k of patch l]   ties: x.1 ~ the K rows of y.1
    x, y = node.args[0], node.results[0]
    channel = len(p.shape(x)) - 3
    kernel = p.shape(y)[channel] // p.shape(x)[channel]
    planes = []
    for plane in p.fuse_all(p.planes(x), {channel + 1, channel + 2}, _SAMPLED):
        ids = plane.ids.squeeze(-1)
        if channel in plane.varying:
            ids = ids.repeat_interleave(kernel, channel)
        planes.append(replace(plane, ids=ids))
    return [planes]


@rule("aten::col2im")
def fold(p: Propagation, node: Node) -> list[Planes]:
    # y[b, c, position k of patch l] += x[b, c K + k, l]   ties: the K rows of x.1 ~ y.1
    x, y = node.args[0], node.results[0]
    channel = len(p.shape(x)) - 2
    planes = p.fuse_all(p.planes(x), {channel + 1}, _SAMPLED)
    blocks = _blocks(p, planes, channel, p.shape(y)[channel])
    return [[replace(plane, ids=plane.ids.unsqueeze(-1)) for plane in blocks]]


@rule("aten::pixel_shuffle")
def pixel_shuffle(p: Propagation, node: Node) -> list[Planes]:
    # y[b, c, h r + i, w r + j] = x[b, (c r + i) r + j, h, w]   ties: the r r channels of each c
    x, y = node.args[0], node.results[0]
    channel = len(p.shape(x)) - 3
    planes = p.fuse_all(p.planes(x), {channel + 1, channel + 2}, "shuffled positions")
    return [_blocks(p, planes, channel, p.shape(y)[channel])]


@rule("aten::pixel_unshuffle")
def pixel_unshuffle(p: Propagation, node: Node) -> list[Planes]:
    # y[b, (c r + i) r + j, h, w] = x[b, c, h r + i, w r + j]   ties: x.1 ~ its r r channels
    x, factor = node.args
    channel = len(p.shape(x)) - 3
    planes = p.fuse_all(p.planes(x), {channel + 1, channel + 2}, "shuffled positions")
    return [
        [
            replace(q, ids=q.ids.repeat_interleave(factor**2, channel))
            if channel in q.varying
            else q
            for q in planes
        ]
    ]


@rule("aten::channel_shuffle", "aten::native_channel_shuffle")
def channel_shuffle(p: Propagation, node: Node) -> list[Planes]:
    # y[b, c G + g, ...] = x[b, g C + c, ...]   ties: the c-th channel of every group
    x, groups = node.args
    planes = []
    for plane in p.planes(x):
        ids = plane.ids
        if 1 in plane.varying:
            columns = ids.unflatten(1, (groups, -1))
            p.tie(columns, columns.narrow(1, 0, 1))
            ids = columns.transpose(1, 2).flatten(1, 2)
        planes.append(replace(plane, ids=ids))
    return [planes]


def _channels(p: Propagation, x: Ref) -> Planes:
    """Return the planes of images of which positions and examples are picked."""
    rank = len(p.shape(x))
    planes = p.fuse_all(p.planes(x), {0, *range(2, rank)}, _SAMPLED)
    return [replace(plane, uniform=False) for plane in planes]


def _blocks(p: Propagation, planes: Planes, dim: int, count: int) -> Planes:
    """Tie the parts of each of ``count`` blocks along ``dim`` and return one id for each block."""
    out = []
    for plane in planes:
        ids = plane.ids
        if dim in plane.varying:
            blocks = ids.unflatten(dim, (count, -1))
            first = blocks.narrow(dim + 1, 0, 1)
            p.tie(blocks, first)
            ids = first.squeeze(dim + 1)
        out.append(replace(plane, ids=ids))
    return out
