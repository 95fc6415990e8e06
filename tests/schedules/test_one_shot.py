import pytest

from lightning_prune.schedules import OneShot


def test_all_at_once():
    schedule = OneShot(epoch=3)
    assert [schedule.sparsity(e, 0.5) for e in range(5)] == [0.0, 0.0, 0.0, 0.5, 0.5]
    assert schedule.events() == (3,)
    assert schedule.period == "epoch"


def test_in_steps():
    assert OneShot(step=100).period == "step"
    assert OneShot(step=100).sparsity(99, 0.5) == 0.0


def test_refuses_no_position():
    with pytest.raises(ValueError, match="Expected `epoch` or `step`"):
        OneShot()
