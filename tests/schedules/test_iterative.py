import pytest

from lightning_prune.schedules import Iterative


def test_five_rounds_of_twenty_percent_of_what_remains():
    schedule = Iterative(rounds=5, start_epoch=2, recovery_epochs=3)
    final = 1 - 0.8**5
    levels = [schedule.sparsity(e, final) for e in schedule.events()]
    assert levels == pytest.approx([1 - 0.8**i for i in range(1, 6)])
    assert schedule.events() == (2, 5, 8, 11, 14)


def test_nothing_changes_while_it_recovers():
    schedule = Iterative(rounds=2, start_step=10, recovery_steps=50)
    assert schedule.sparsity(59, 0.75) == schedule.sparsity(10, 0.75) == 0.5


def test_one_round_is_one_shot():
    assert Iterative(rounds=1, start_epoch=4, recovery_epochs=9).events() == (4,)
