"""The threshold: the n-th lowest of all values of several tensors, which are never joined.

Two values of a sample are taken that most likely enclose it, the others are counted, and those in
between go on. The result is exact; a sample that misses costs another pass.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

_FEW = 2**17
"""So many values are sorted."""
_SAMPLE = 2**14
_MARGIN = 4.0
"""Standard deviations of a quantile of the sample, on both sides of it."""


def nth_lowest(tensors: Sequence[Tensor], n: int) -> Tensor:
    """Return the n-th lowest value.

    Args:
        tensors: of one type, on one device; no NaN.
        n: in [1, values in all tensors].

    Returns:
        A tensor of one value, shape ``[]``.
    """
    values = [t.flatten() for t in tensors]
    while (total := sum(v.numel() for v in values)) > _FEW:
        low, high = _enclosing(values, n / total)
        below_low, up_to_low = _count(values, low)
        below_high, up_to_high = _count(values, high)
        if n <= below_low:
            values = [v[v < low] for v in values]
        elif n <= up_to_low:
            return low
        elif n <= below_high:
            values, n = [v[(v > low) & (v < high)] for v in values], n - up_to_low
        elif n <= up_to_high:
            return high
        else:
            values, n = [v[v > high] for v in values], n - up_to_high
    return torch.cat(values).sort().values[n - 1]


def _enclosing(values: Sequence[Tensor], quantile: float) -> tuple[Tensor, Tensor]:
    """Return two values between which a quantile most likely lies."""
    step = -(-sum(v.numel() for v in values) // _SAMPLE)
    sample = torch.cat([v[::step] for v in values]).sort().values
    size = sample.numel()
    middle = quantile * size
    margin = 1 + _MARGIN * (size * quantile * (1 - quantile)) ** 0.5
    low, high = (min(max(round(m), 0), size - 1) for m in (middle - margin, middle + margin))
    return sample[low], sample[high]


def _count(values: Sequence[Tensor], pivot: Tensor) -> tuple[int, int]:
    """Return how many values are below a pivot, and how many are not above it."""
    # Not `sum`, which makes eight bytes of every flag.
    below = [(v < pivot).count_nonzero() for v in values]
    up_to = [(v <= pivot).count_nonzero() for v in values]
    first, second = torch.stack([*below, *up_to]).view(2, -1).sum(1).tolist()
    return first, second
