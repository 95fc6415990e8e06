from math import cos, pi

import pytest

from lightning_prune.schedules import Cosine


def test_is_half_a_wave():
    schedule = Cosine(start_epoch=2, end_epoch=10)
    expected = [0.6 * (1 - cos(pi * i / 8)) / 2 for i in range(9)]
    assert [schedule.sparsity(e, 0.6) for e in range(2, 11)] == pytest.approx(expected)


def test_is_symmetric():
    schedule = Cosine(start_step=0, end_step=100, every=5)
    for step in range(0, 101, 5):
        both = schedule.sparsity(step, 0.8) + schedule.sparsity(100 - step, 0.8)
        assert both == pytest.approx(0.8)
