import pytest

from lightning_prune.schedules import Exponential


def test_every_update_leaves_the_same_fraction_of_what_remains():
    schedule = Exponential(start_epoch=1, end_epoch=5)
    left = [1 - schedule.sparsity(e, 0.9375) for e in range(1, 6)]
    assert left == pytest.approx([1, 1 / 2, 1 / 4, 1 / 8, 1 / 16])
