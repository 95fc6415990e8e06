"""Normalization: where the scale is zero, only the shift is left, whatever the statistics.

A constant that is normalised with another scale is none: its statistics are those of the batch in
train mode and those of the buffers in eval mode.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from lightning_prune.compaction.constants.known import known
from lightning_prune.compaction.constants.step import Results, Step, Transfer, operations


def of_channels(step: Step) -> Results:
    """Return what is known of ``y[b, c, ...] = n(x)[b, c, ...] * scale[c] + shift[c]``."""
    return _affine(step, [1, -1, *[1] * (len(step.shape()) - 2)])


def of_features(step: Step) -> Results:
    """Return what is known of ``y[..., c] = n(x)[..., c] * scale[c] + shift[c]``."""
    return _affine(step, None)


def _affine(step: Step, shape: list[int] | None) -> Results:
    weight, bias = step.node.argument("weight"), step.node.argument("bias")
    if weight is None:
        return []
    scale = step.value(weight)
    shift = torch.zeros_like(scale.numbers)
    varies = scale.counts
    if bias is not None:
        shift, varies = step.value(bias).numbers, varies | step.value(bias).varies

    def spread(line: Tensor) -> Tensor:
        return (line if shape is None else line.reshape(shape)).expand(step.shape())

    return [known(spread(varies), spread(shift))]


NORMALIZATION: Mapping[str, Transfer] = dict.fromkeys(
    operations("batch_norm group_norm"), of_channels
) | dict.fromkeys(operations("layer_norm rms_norm"), of_features)
