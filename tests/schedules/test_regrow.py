from math import cos, pi

import pytest

from lightning_prune.schedules import Regrow


def test_the_sparsity_is_constant():
    schedule = Regrow(start_epoch=1, end_epoch=9, every=2)
    assert {schedule.sparsity(e, 0.8) for e in range(1, 12)} == {0.8}


def test_the_exchange_decays_as_in_the_paper():
    schedule = Regrow(start_step=0, end_step=100, every=10, share=0.4)
    for step in range(10, 100, 10):
        expected = 0.4 / 2 * (1 + cos(pi * step / 100))
        assert schedule.exchange(step) == pytest.approx(expected)
    assert schedule.exchange(0) == schedule.exchange(100) == 0.0


@pytest.mark.parametrize("share", [0.0, 1.0, -1])
def test_refuses_a_share_out_of_range(share):
    with pytest.raises(ValueError, match="Expected `share` to be a fraction in"):
        Regrow(start_epoch=0, end_epoch=3, share=share)
