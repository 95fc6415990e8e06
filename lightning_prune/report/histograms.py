"""Histograms of scores: how those of kept units and of removed ones are distributed."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from torch import Tensor

from lightning_prune.report.content import Histogram

_BINS = 30


def histograms_of(
    names: Sequence[str], scores: Sequence[Tensor], kept: Sequence[Tensor]
) -> tuple[Histogram, ...]:
    """Return a histogram for each group.

    Where no score is negative, and some differ by more than a factor of ten, bins are of equal
    width in the logarithm.

    Args:
        names: of the groups.
        scores: of the units of each, or of every n-th of them, shape ``[units]``.
        kept: which of the same units are kept, shape ``[units]``.

    Returns:
        Those of the groups that have finite scores.
    """
    found = []
    for name, group_scores, group_kept in zip(names, scores, kept, strict=True):
        values, alive = group_scores.double().cpu().numpy(), group_kept.cpu().numpy()
        finite = np.isfinite(values)
        values, alive = values[finite], alive[finite]
        positive = values[values > 0]
        logarithmic = bool(
            len(positive) and not (values < 0).any() and positive.max() > 10 * positive.min()
        )
        zeros = int((values == 0).sum()) if logarithmic else 0
        if logarithmic:
            alive, values = alive[values > 0], np.log10(positive)
        if not len(values):
            continue
        edges = np.histogram_bin_edges(values, _BINS)
        counts = [np.histogram(values[which], edges)[0] for which in (alive, ~alive)]
        found.append(
            Histogram(
                name,
                len(values) + zeros,
                logarithmic,
                tuple((10.0**edges if logarithmic else edges).tolist()),
                tuple(counts[0].tolist()),
                tuple(counts[1].tolist()),
                zeros,
            )
        )
    return tuple(found)
