"""Taking turns: several runs timed one after the other, again and again.

A machine that warms up or is shared drifts; in turns the drift hits all runs alike.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from lightning_prune.arguments import check_integer, check_positive
from lightning_prune.measure.allocator import memory_kept

# Quantiles no longer move after so many turns; a tiny model would otherwise collect for nothing.
_MAX_TURNS = 1000
_STABLE = 0.03
"""Relative difference of the medians of two windows that counts as none."""

Run = Callable[[], float]
"""Runs once and returns how many milliseconds that took."""


def take_turns(
    runs: Sequence[Run], *, warmup_runs: int, min_runs: int, max_seconds: float
) -> NDArray[np.float64]:
    """Warm up until the times are stable, then take the times.

    The warm-up goes on, in windows of ``warmup_runs`` turns, until the median of each run is within
    3% of that in the window before, or half of ``max_seconds`` is over.

    Args:
        runs: what to time, at least one.
        warmup_runs: turns in a window of the warm-up, at least 0.
        min_runs: timed turns even where they take longer than ``max_seconds``, at least 1.
        max_seconds: when to stop, in seconds after the warm-up; at most 1000 turns are taken.

    Returns:
        Times in ms, shape ``[turns, runs]``.
    """
    turns_ms: list[list[float]] = []
    with memory_kept():
        if warmup_runs:
            _warm_up(runs, warmup_runs, time.perf_counter() + max_seconds / 2)
        max_turns, deadline_s = max(min_runs, _MAX_TURNS), time.perf_counter() + max_seconds
        while len(turns_ms) < min_runs or (
            len(turns_ms) < max_turns and time.perf_counter() < deadline_s
        ):
            turns_ms.append([run() for run in runs])
    return np.array(turns_ms)


def _warm_up(runs: Sequence[Run], window: int, deadline_s: float) -> None:
    before = np.full(len(runs), np.inf)
    while True:
        now = np.median([[run() for run in runs] for _ in range(window)], axis=0)
        stable = bool((abs(now - before) <= _STABLE * now).all())
        if stable or time.perf_counter() >= deadline_s:
            return
        before = now


def check_runs(warmup_runs: int, min_runs: int, max_seconds: float) -> None:
    """Check the arguments of `take_turns`, for callers that keep them for later.

    Args:
        warmup_runs: at least 0.
        min_runs: at least 1.
        max_seconds: greater than 0, in seconds.

    Raises:
        ValueError: if one of them is out of range.
    """
    check_integer("warmup_runs", warmup_runs, 0, "Five are enough for most models.")
    check_integer("min_runs", min_runs, 1, "Percentiles settle at about 20.")
    check_positive("max_seconds", max_seconds, "For as few runs as possible, say 0.01.")
