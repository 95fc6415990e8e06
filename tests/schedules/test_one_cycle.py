from math import exp

import pytest

from lightning_prune.schedules import OneCycle


def test_follows_the_paper():
    schedule = OneCycle(start_epoch=0, end_epoch=10)
    for epoch in range(11):
        expected = 0.8 * (1 + exp(-14 + 5)) / (1 + exp(-14 * epoch / 10 + 5))
        assert schedule.sparsity(epoch, 0.8) == pytest.approx(expected)


def test_is_steepest_after_a_third():
    schedule = OneCycle(start_step=0, end_step=140)
    gains = [schedule.sparsity(s + 1, 0.8) - schedule.sparsity(s, 0.8) for s in range(140)]
    assert 49 <= gains.index(max(gains)) <= 50  # 140 * 5 / 14
