"""The speed-up: the ratio of two medians measured in turns, and how far it can be trusted."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from typing_extensions import override

_RESAMPLES = 1000
_LEVEL = 95  # percent


@dataclass(frozen=True)
class Speedup:
    """How many times as fast one model is as another.

    Args:
        ratio: p50 of the first over p50 of the second.
        low: lower end of the ratio's 95% confidence interval.
        high: its upper end.
    """

    ratio: float
    low: float
    high: float

    @property
    def spread(self) -> float:
        """Half of the interval's width, relative to the ratio."""
        return (self.high - self.low) / (2 * self.ratio)

    @override
    def __str__(self) -> str:
        return f"{self.ratio:.2f} ({self.low:.2f}-{self.high:.2f})"


def speedup_of(before_ms: NDArray[np.float64], after_ms: NDArray[np.float64]) -> Speedup:
    """Return the ratio of two medians with its confidence interval.

    The interval is a bootstrap over turns. Runs of neighbouring turns resemble each other, as when
    the machine is busy for a while, so turns are drawn in blocks of neighbours.

    Args:
        before_ms: times of the first model in ms, shape ``[turns]``.
        after_ms: times of the second in the same turns, shape ``[turns]``.

    Returns:
        The same numbers for the same times.

    Example:
        >>> speedup_of(np.full(9, 6.0), np.full(9, 2.0))
        Speedup(ratio=3.0, low=3.0, high=3.0)
    """
    drawn = _blocks(len(before_ms))
    ratios = np.median(before_ms[drawn], axis=1) / np.median(after_ms[drawn], axis=1)
    return _with_interval(float(np.median(before_ms) / np.median(after_ms)), ratios)


def paired_speedup(before_ms: NDArray[np.float64], after_ms: NDArray[np.float64]) -> Speedup:
    """Return the median of the ratios of each turn, with its confidence interval.

    Where a machine is busy for a part of the time, this moves less than the ratio of medians; on
    one that is not, both are the same.

    Args:
        before_ms: times of the first model in ms, shape ``[turns]``.
        after_ms: times of the second in the same turns, shape ``[turns]``.

    Returns:
        The same numbers for the same times.
    """
    ratios = before_ms / after_ms
    return _with_interval(float(np.median(ratios)), np.median(ratios[_blocks(len(ratios))], axis=1))


def speedup_in_places(places: Sequence[NDArray[np.float64]]) -> Speedup:
    """Return the median speed-up over places of the memory, with its confidence interval.

    Turns of the same place resemble each other, so the interval is a bootstrap over places; of one
    place it is that of its turns.

    Args:
        places: for each place the times of two models in ms, shape ``[turns, 2]``.

    Returns:
        The same numbers for the same times.

    Example:
        >>> speedup_in_places([np.full((9, 2), [6.0, ms]) for ms in (2.0, 3.0, 1.5)])
        Speedup(ratio=3.0, low=2.0, high=4.0)
    """
    if len(places) == 1:
        return paired_speedup(*places[0].T)
    ratios = np.array([np.median(runs_ms[:, 0] / runs_ms[:, 1]) for runs_ms in places])
    drawn = np.random.default_rng(0).integers(len(ratios), size=(_RESAMPLES, len(ratios)))
    return _with_interval(float(np.median(ratios)), np.median(ratios[drawn], axis=1))


def _blocks(turns: int) -> NDArray[np.int64]:
    """Return turns drawn with replacement in blocks of neighbours, shape ``[resamples, turns]``."""
    length = round(turns ** (1 / 3))
    random = np.random.default_rng(0)
    starts = random.integers(turns, size=(_RESAMPLES, -(-turns // length), 1))
    return ((starts + np.arange(length)) % turns).reshape(_RESAMPLES, -1)[:, :turns]


def _with_interval(ratio: float, resampled: NDArray[np.float64]) -> Speedup:
    tail = (100 - _LEVEL) / 2
    low, high = np.percentile(resampled, [tail, 100 - tail])
    return Speedup(ratio, float(low), float(high))
