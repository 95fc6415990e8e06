"""Averages: operations that yield a number again where all that they take are that number."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

import torch

from lightning_prune.compaction.constants.known import Known, known
from lightning_prune.compaction.constants.step import Results, Step, Transfer, operations
from lightning_prune.compaction.constants.transfers.elementwise import elementwise
from lightning_prune.compaction.constants.transfers.layout import padding


def over_dims(step: Step) -> Results:
    """Return what is known of a mean, the largest or the smallest along some dimensions."""
    dims = step.node.argument("dim")
    dims = [dims] if isinstance(dims, int) else dims
    return [_common(step, dims)] if dims else []


def extreme(step: Step) -> Results:
    """Return what is known of the larger of two tensors, or of the largest along a dimension."""
    is_elementwise = torch.Tag.pointwise in step.node.op.tags
    return elementwise(step) if is_elementwise else over_dims(step)


def over_positions(step: Step) -> Results:
    """Return what is known of windows over the trailing dimensions.

    Each yields a weighted mean of what it takes, with weights that add up to one, or the largest.
    """
    trailing = int(re.findall(r"(\d)d", step.node.name)[0])
    return [_common(step, range(-trailing, 0))]


def pooling(step: Step) -> Results:
    """Return what is known of a mean over windows, if they hold nothing but what is there."""
    node = step.node
    if node.argument("padding") not in ([], [0], [0, 0], [0, 0, 0]):
        return []
    if node.argument("ceil_mode") or node.argument("divisor_override") is not None:
        return []
    return over_positions(step)


def borders(step: Step) -> Results:
    """Return what is known between borders that repeat what lies beside them, or of one number."""
    if step.node.argument("mode") == "constant":
        return padding(step)
    return [_common(step, range(-(len(step.node.args[1]) // 2), 0))]


def total(step: Step) -> Results:
    """Return what is known of a sum: how many it adds may follow from sizes, so only zeros stay."""
    counts = step.run(lambda ref: step.value(ref).counts.double())[0]
    return [known(counts > 0, torch.zeros_like(counts))]


def _common(step: Step, dims: Sequence[int]) -> Known | None:
    """Return the number that all have along some dimensions, in the shape of the result."""
    x = step.value(step.node.args[0])
    varies, numbers = ~x.is_uniform(dims), x.numbers.amin(list(dims), keepdim=True)
    if len(step.shape()) < x.varies.dim():
        varies, numbers = varies.squeeze(tuple(dims)), numbers.squeeze(tuple(dims))
    return known(varies.expand(step.shape()), numbers.expand(step.shape()))


AVERAGES: Mapping[str, Transfer] = (
    dict.fromkeys(operations("mean amax amin"), over_dims)
    | dict.fromkeys(operations("max min"), extreme)
    | dict.fromkeys(
        [
            *operations("max_pool1d max_pool2d max_pool3d max_pool2d_with_indices"),
            *operations("adaptive_avg_pool1d adaptive_avg_pool2d adaptive_avg_pool3d"),
            *operations("_adaptive_avg_pool2d _adaptive_avg_pool3d"),
            *operations("adaptive_max_pool1d adaptive_max_pool2d adaptive_max_pool3d"),
            *operations("upsample_nearest1d upsample_nearest2d upsample_nearest3d"),
            *operations("_upsample_nearest_exact1d _upsample_nearest_exact2d"),
            *operations("upsample_linear1d upsample_bilinear2d upsample_trilinear3d"),
            *operations("upsample_bicubic2d _upsample_bilinear2d_aa _upsample_bicubic2d_aa"),
            *operations("reflection_pad1d reflection_pad2d reflection_pad3d"),
            *operations("replication_pad1d replication_pad2d replication_pad3d"),
        ],
        over_positions,
    )
    | dict.fromkeys(operations("avg_pool1d avg_pool2d avg_pool3d"), pooling)
    | {"aten::pad": borders, "aten::sum": total}
)
