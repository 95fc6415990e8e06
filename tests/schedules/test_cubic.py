from itertools import pairwise

import pytest

from lightning_prune.schedules import Cubic


def test_follows_the_paper():
    schedule = Cubic(start_epoch=2, end_epoch=12)
    assert schedule.sparsity(2, 0.5) == 0.0
    assert schedule.sparsity(7, 0.5) == pytest.approx(0.5 * (1 - 0.5**3))
    assert schedule.sparsity(11, 0.5) == pytest.approx(0.5 * (1 - 0.1**3))
    assert schedule.sparsity(12, 0.5) == 0.5


def test_removes_most_first():
    schedule = Cubic(start_step=0, end_step=40, every=10)
    levels = [schedule.sparsity(s, 0.9) for s in schedule.events()]
    gains = [b - a for a, b in pairwise(levels)]
    assert gains == sorted(gains, reverse=True)


def test_refuses_both_units():
    with pytest.raises(ValueError, match="Expected one pair of bounds"):
        Cubic(start_epoch=1, end_epoch=2, start_step=1, end_step=2)
