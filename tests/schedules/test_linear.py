import pytest

from lightning_prune.schedules import Linear


def test_equal_shares():
    schedule = Linear(start_epoch=2, end_epoch=6)
    assert [schedule.sparsity(e, 0.8) for e in range(8)] == pytest.approx(
        [0, 0, 0, 0.2, 0.4, 0.6, 0.8, 0.8]
    )


def test_holds_between_due_steps():
    schedule = Linear(start_step=10, end_step=25, every=10)
    assert schedule.events() == (10, 20, 25)
    assert schedule.sparsity(19, 0.9) == 0.0
    assert schedule.sparsity(24, 0.9) == pytest.approx(0.9 * 10 / 15)


def test_refuses_an_end_before_the_start():
    with pytest.raises(ValueError, match="Expected `end_epoch` to be after `start_epoch`"):
        Linear(start_epoch=6, end_epoch=2)
