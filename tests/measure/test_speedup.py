"""The ratio of medians has an interval that holds the truth about as often as it says."""

from __future__ import annotations

import numpy as np
import pytest

from lightning_prune.measure.speedup import (
    Speedup,
    paired_speedup,
    speedup_in_places,
    speedup_of,
)


def test_the_ratio_is_that_of_the_medians() -> None:
    speedup = speedup_of(np.array([3.0, 6.0, 90.0]), np.array([2.0, 2.0, 2.0]))
    assert speedup.ratio == 6 / 2
    assert speedup.low <= speedup.ratio <= speedup.high


def test_the_same_times_give_the_same_interval() -> None:
    random = np.random.default_rng(1)
    before, after = random.gamma(9, size=(2, 50))
    assert speedup_of(before, after) == speedup_of(before, after)


def test_noise_widens_the_interval() -> None:
    random = np.random.default_rng(2)
    quiet, loud = (speedup_of(*random.normal([[6], [2]], s, (2, 60))) for s in (0.01, 0.3))
    assert quiet.high - quiet.low < 0.1 * (loud.high - loud.low)


def test_the_interval_holds_the_truth_about_as_often_as_it_says() -> None:
    random = np.random.default_rng(3)
    found = [speedup_of(*random.normal([[6], [2]], 0.2, (2, 40))) for _ in range(100)]
    assert 88 <= sum(it.low <= 3 <= it.high for it in found) <= 100


def test_noise_that_lasts_for_several_turns_is_not_taken_for_independent() -> None:
    # Each level of noise lasts for five turns: there are fewer independent ones than turns.
    random = np.random.default_rng(4)
    slow = [
        speedup_of(6 + np.repeat(random.normal(0, 0.5, 12), 5), np.full(60, 2.0)) for _ in range(40)
    ]
    fast = [speedup_of(6 + random.normal(0, 0.5, 60), np.full(60, 2.0)) for _ in range(40)]
    assert np.mean([it.high - it.low for it in slow]) > 1.3 * np.mean(
        [it.high - it.low for it in fast]
    )


@pytest.mark.parametrize("turns", [1, 2, 3])
def test_few_turns_are_no_obstacle(turns: int) -> None:
    assert speedup_of(np.full(turns, 4.0), np.full(turns, 2.0)) == Speedup(2.0, 2.0, 2.0)


def test_places_count_and_not_their_turns() -> None:
    random = np.random.default_rng(5)
    found = []
    for _ in range(100):  # every place has a ratio of its own, around 3; its turns hardly differ
        ratios = random.normal(3, 0.1, 9)
        turns = random.normal([6, 2], 1e-3, (40, 2))
        found.append(speedup_in_places([turns * [ratio / 3, 1] for ratio in ratios]))
    assert 85 <= sum(it.low <= 3 <= it.high for it in found) <= 100


def test_of_one_place_the_interval_is_that_of_its_turns() -> None:
    runs_ms = np.random.default_rng(6).normal([6, 2], 0.2, (40, 2))
    assert speedup_in_places([runs_ms]) == paired_speedup(*runs_ms.T)


def test_it_prints_its_interval() -> None:
    assert str(Speedup(3.664, 3.5, 3.8)) == "3.66 (3.50-3.80)"
