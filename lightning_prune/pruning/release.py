"""Release: weights that are masked no longer start again from small values.

From zero they would not: a channel that is zero on all its sides gets no gradient, nor does a
single weight between two neurons without another.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from lightning_prune.modules.shards import local, shard_like, whole

SCALE = 0.1
"""How large released weights are, compared with kept ones of their parameter."""


@torch.no_grad()
def restart(weights: Mapping[str, Tensor], masks: Mapping[str, Tensor], seed: int) -> None:
    """Give masked weights the values of kept ones of their parameter, drawn at random and scaled.

    The same seed gives the same values on every rank and device.

    Args:
        weights: parameters, by name; changed in place.
        masks: boolean masks of some of them, by name, ``True`` = kept.
        seed: of the random numbers.
    """
    generator = torch.Generator().manual_seed(seed)
    for name, mask in masks.items():
        values, kept = whole(weights[name].detach()).cpu().clone(), mask.cpu()
        if kept.any():
            alive = values[kept]
            draw = torch.randint(len(alive), [int((~kept).sum())], generator=generator)
            values[~kept] = alive[draw] * SCALE
            local(weights[name]).copy_(shard_like(values, weights[name]))
