"""Rules for convolutions: plain, grouped, depthwise and transposed, of one to three dimensions.

A grouped convolution can lose whole groups, or the same column of every group; what leaves more
units is taken. Depthwise convolutions are the first case with groups of one channel.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from lightning_prune.coupling.graph import Node, Ref
from lightning_prune.coupling.labels import Plane
from lightning_prune.coupling.propagate import Planes, Propagation
from lightning_prune.coupling.rules.base import rule
from lightning_prune.coupling.rules.linear import carried, with_bias
from lightning_prune.coupling.rules.product import read


@dataclass(frozen=True, eq=False)
class Convolution:
    """The arguments of one convolution and its channel layout."""

    x: Ref
    weight: Ref
    bias: Ref | None
    groups: int
    transposed: bool

    @property
    def in_dim(self) -> int:
        """Dimension of the weight that reads."""
        return 0 if self.transposed else 1

    @property
    def out_dim(self) -> int:
        """Dimension of the weight that writes."""
        return 1 if self.transposed else 0


@rule("aten::conv1d", "aten::conv2d", "aten::conv3d")
def convolution(p: Propagation, node: Node) -> list[Planes]:
    # y[b, o, ...] = convolution(x[b, i, ...], weight[o, i, ...]) + bias[o]
    # ties: x.1 ~ weight.1, weight.0 ~ bias.0 ~ y.1; positions stay
    x, weight = node.args[:2]
    groups = node.argument("groups", 1)
    return couple_convolution(p, node, Convolution(x, weight, node.argument("bias"), groups, False))


@rule("aten::conv_transpose1d", "aten::conv_transpose2d", "aten::conv_transpose3d")
def transposed_convolution(p: Propagation, node: Node) -> list[Planes]:
    # y[b, o, ...] = transposed convolution(x[b, i, ...], weight[i, o, ...]) + bias[o]
    # ties: x.1 ~ weight.0, weight.1 ~ bias.0 ~ y.1; positions stay
    x, weight = node.args[:2]
    groups = node.argument("groups", 1)
    return couple_convolution(p, node, Convolution(x, weight, node.argument("bias"), groups, True))


@rule("aten::convolution", "aten::_convolution")
def any_convolution(p: Propagation, node: Node) -> list[Planes]:
    # the form that the two above decompose to
    x, weight, bias = node.args[:3]
    groups, transposed = node.argument("groups", 1), bool(node.argument("transposed", False))
    return couple_convolution(p, node, Convolution(x, weight, bias, groups, transposed))


def couple_convolution(p: Propagation, node: Node, conv: Convolution) -> list[Planes]:
    rank, spatial = len(p.shape(conv.x)), len(p.shape(conv.weight)) - 2
    channel = rank - spatial - 1
    if not p.is_static(conv.weight) and not _is_labelled(p, conv):
        p.freeze_all(node.inputs, "a convolution with weights computed from activations")
        return []
    for plane in p.planes(conv.weight):
        if plane.varying - {0, 1}:
            p.labels.kernel(plane.ids)
    _price(p, node, conv, channel)
    planes = p.fuse_all(
        p.planes(conv.x), range(channel + 1, rank), "convolved along a labelled position"
    )
    planes = p.keep_leading(planes, channel)
    if conv.groups == 1:
        rest = read(p, planes, channel, p.axis_plane(conv.weight, conv.in_dim))
        writes = p.axis_plane(conv.weight, conv.out_dim)
    else:
        rest = [plane for plane in planes if channel not in plane.varying]
        x = _channel_plane(p, planes, channel)
        writes = _grouped(p, conv, x, p.shape(conv.x)[channel])
    return [carried(rest, conv.bias) + with_bias(p, writes, conv.bias, rank, channel)]


def _is_labelled(p: Propagation, conv: Convolution) -> bool:
    """Tell whether a computed weight has channels that can go, as what a style has scaled."""
    varying = [plane.varying for plane in p.planes(conv.weight)]
    return all(any(dim in some for some in varying) for dim in (conv.in_dim, conv.out_dim))


def _price(p: Propagation, node: Node, conv: Convolution, channel: int) -> None:
    """Every weight is used once for each position written (transposed: read)."""
    shape = p.shape(conv.x if conv.transposed else node.results[0])
    p.price(conv.weight, math.prod(shape[:channel]) * math.prod(shape[channel + 1 :]))


def _channel_plane(p: Propagation, planes: Planes, channel: int) -> Plane | None:
    found = None
    for plane in planes:
        if channel in plane.varying:
            if found is not None or plane.varying != {channel}:
                p.freeze(plane.ids, "a second label on one dimension")
                continue
            found = replace(plane, ids=plane.ids.reshape(-1))
    return found


def _grouped(p: Propagation, conv: Convolution, x: Plane | None, channels: int) -> Plane | None:
    """Couple a grouped convolution and return what it writes, ids of shape ``[out channels]``."""
    width = channels // conv.groups
    first, second = p.axis_plane(conv.weight, 0), p.axis_plane(conv.weight, 1)
    written = p.shape(conv.weight)[1 if conv.transposed else 0]
    written = written if conv.transposed else written // conv.groups
    # Groups of a computed weight are those of a batch, not of the weight: none can go.
    if x is not None and p.is_static(conv.weight) and conv.groups > max(width, written):
        blocks = replace(x, ids=x.ids.reshape(conv.groups, width))
        return _whole_groups(p, conv, blocks, first, second, written)
    return _same_columns(p, conv, x, first, second)


def _whole_groups(
    p: Propagation,
    conv: Convolution,
    x: Plane,
    first: Plane | None,
    second: Plane | None,
    written: int,
) -> Plane | None:
    # ties: the channels that a group reads ~ the channels that it writes; weight.1 stays
    p.labels.grouped.add(p.origin(conv.weight) or "")
    if second is not None:
        p.freeze(second.ids, "columns of a convolution that loses whole groups")
    p.tie(x.ids, x.ids[:, :1])
    if first is None:
        p.freeze(x.ids, "read by a weight that cannot shrink")
        return None
    rows = first.ids.reshape(conv.groups, -1)
    p.labels.tie(rows, x.ids[:, :1])
    zero = first.zero or x.zero
    if conv.transposed:
        return Plane(rows[:, :1].expand(conv.groups, written).reshape(-1), zero)
    return replace(first, zero=zero)


def _same_columns(
    p: Propagation,
    conv: Convolution,
    x: Plane | None,
    first: Plane | None,
    second: Plane | None,
) -> Plane | None:
    # ties: the j-th channel that every group reads, the j-th that every group writes
    rows = None if first is None else replace(first, ids=first.ids.reshape(conv.groups, -1))
    if rows is not None:
        p.tie(rows.ids, rows.ids[:1])
    columns = rows if conv.transposed else second
    if columns is not None:
        columns = replace(columns, ids=columns.ids.expand(conv.groups, -1).reshape(-1))
    read(p, [] if x is None else [x], 0, columns)
    if conv.transposed:
        return None if second is None else replace(second, ids=second.ids.repeat(conv.groups))
    return first
