"""What a search of latency has tried: the units kept, and what the compact twin measures."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from lightning_prune.measure import Speedup

TOLERANCE = 0.01
"""Relative difference of asked and measured speed-up that counts as none."""

_MOST_NOISE = 0.02
"""The same where measurements differ among each other by as much."""

_MISSED = 0.03
"""The same that is too much: then steps are tried that are not as large."""


KeepAt = Callable[[float], list[Tensor]]
"""Returns the units to keep at a level."""


class KeepInMultiples(Protocol):
    """Returns the units to keep at a level, in multiples."""

    def __call__(self, level: float, round_to: int = 1) -> list[Tensor]:
        """Return them."""


@dataclass(frozen=True, eq=False)
class Try:
    """A level, the units kept there, what they measure, and what was asked."""

    level: float
    kept: list[Tensor]
    speedup: Speedup
    sparsity: float

    @property
    def gone(self) -> float:
        """The fraction of the milliseconds that is gone."""
        return fraction_gone(self.speedup)

    @property
    def distance(self) -> float:
        """The relative difference of the speed-up from that asked for."""
        return abs(self.speedup.ratio * (1 - self.sparsity) - 1)

    @property
    def agrees(self) -> bool:
        """Whether that is none."""
        return self.distance <= max(TOLERANCE, min(self.speedup.spread, _MOST_NOISE))


def fraction_gone(speedup: Speedup) -> float:
    """Return the fraction of the milliseconds that is gone."""
    return 1 - 1 / speedup.ratio


def is_missed(tries: Sequence[Try]) -> bool:
    """Return whether none of the tries is close to what was asked."""
    return all(one.distance > _MISSED for one in tries)


def same_as(kept: Sequence[Tensor], tries: Sequence[Try]) -> Try | None:
    """Return the try in which the same units were kept; ``None`` if there is none."""
    for tried in tries:
        if all(map(torch.equal, kept, tried.kept)):
            return tried
    return None


def neighbours(tries: Sequence[Try]) -> tuple[Try, Try] | None:
    """Return the two tries that enclose what was asked, the slower one first.

    ``None`` where all tries are slower, or all are faster.
    """
    slower = [one for one in tries if one.gone < one.sparsity]
    faster = [one for one in tries if one.gone >= one.sparsity]
    if not slower or not faster:
        return None
    return max(slower, key=lambda one: one.gone), min(faster, key=lambda one: one.gone)
