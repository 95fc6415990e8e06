"""Which of the tries enclose what was asked."""

from __future__ import annotations

import torch

from lightning_prune.measure import Speedup
from lightning_prune.pruning.latency.tries import Try, is_missed, neighbours, same_as


def tried(ratio: float, asked: float = 2.0, units: int = 4) -> Try:
    speedup = Speedup(ratio, ratio, ratio)
    return Try(0.5, [torch.arange(8) < units], speedup, 1 - 1 / asked)


def test_the_neighbours_are_the_closest_on_either_side() -> None:
    slowest, slower, faster, fastest = map(tried, (1.2, 1.8, 2.3, 4.0))
    assert neighbours([fastest, slowest, faster, slower]) == (slower, faster)


def test_nothing_encloses_what_lies_beyond_all() -> None:
    assert neighbours([tried(1.2), tried(1.8)]) is None
    assert neighbours([tried(2.2), tried(2.8)]) is None


def test_what_is_three_per_cent_off_is_missed() -> None:
    assert is_missed([tried(1.93), tried(2.07)])
    assert not is_missed([tried(1.5), tried(2.05)])


def test_the_same_units_are_found_again() -> None:
    first, second = tried(1.5, units=6), tried(2.5, units=3)
    assert same_as([torch.arange(8) < 3], [first, second]) is second
    assert same_as([torch.arange(8) < 5], [first, second]) is None
