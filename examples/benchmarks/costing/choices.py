"""Choices over cost curves: which width of each group, so that all together fit into a time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import Bounds, LinearConstraint, milp


@dataclass(frozen=True, eq=False)
class Widths:
    """The widths that one group may have.

    Args:
        units: numbers of kept units, rising, shape ``[widths]``.
        scores: what the kept units score together, in the same shape.
        ms: what the layers of the group take, in the same shape.
    """

    units: NDArray[np.int64]
    scores: NDArray[np.float64]
    ms: NDArray[np.float64]


Choice = Callable[[Sequence[Widths], float], list[int]]
"""Returns the index of a width for each group; the least widths where nothing fits."""


def by_lagrangian(groups: Sequence[Widths], budget_ms: float) -> list[int]:
    """Choose by score less price, at the lowest price of a millisecond at which all fits.

    The price is bisected; what is left of the budget goes to the widest steps per millisecond.

    Args:
        groups: their widths.
        budget_ms: what all groups together may take.
    """

    def chosen(price: float) -> list[int]:
        return [int((group.scores - price * group.ms).argmax()) for group in groups]

    low, high = 0.0, 1.0
    while total_ms(groups, chosen(high)) > budget_ms:
        if high > 1e30:
            return [0] * len(groups)
        low, high = high, 4 * high
    for _ in range(60):
        middle = (low + high) / 2
        fits = total_ms(groups, chosen(middle)) <= budget_ms
        low, high = (low, middle) if fits else (middle, high)
    return _filled(groups, chosen(high), budget_ms)


def by_milp(groups: Sequence[Widths], budget_ms: float) -> list[int]:
    """Choose the highest score that fits, by `scipy.optimize.milp` in at most ten seconds.

    Args:
        groups: their widths.
        budget_ms: what all groups together may take.
    """
    lengths = [len(group.units) for group in groups]
    of_group = np.repeat(np.arange(len(groups)), lengths) == np.arange(len(groups))[:, None]
    scores = np.concatenate([group.scores for group in groups])
    times = np.concatenate([group.ms for group in groups])
    found = milp(
        -scores / scores.max(),
        integrality=np.ones(len(scores)),
        bounds=Bounds(0, 1),
        constraints=[
            LinearConstraint(of_group.astype(float), 1, 1),
            LinearConstraint(times, -np.inf, budget_ms),
        ],
        options={"time_limit": 10.0},
    )
    if found.x is None:
        return [0] * len(groups)
    return [int(part.argmax()) for part in np.split(found.x, np.cumsum(lengths)[:-1])]


def total_ms(groups: Sequence[Widths], chosen: Sequence[int]) -> float:
    """Return what these widths take together."""
    return sum(float(group.ms[at]) for group, at in zip(groups, chosen, strict=True))


def _filled(groups: Sequence[Widths], chosen: list[int], budget_ms: float) -> list[int]:
    """Widen groups while one fits, by score per millisecond."""
    while True:
        spare_ms, best, gain = budget_ms - total_ms(groups, chosen), None, 0.0
        for index, (group, at) in enumerate(zip(groups, chosen, strict=True)):
            more_ms = group.ms[at + 1 :] - group.ms[at]
            gains = (group.scores[at + 1 :] - group.scores[at]) / np.maximum(more_ms, 1e-9)
            gains[more_ms > spare_ms] = 0.0
            if gains.size and gains.max() > gain:
                best, gain = (index, at + 1 + int(gains.argmax())), float(gains.max())
        if best is None:
            return chosen
        chosen[best[0]] = best[1]
