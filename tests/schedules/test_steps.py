import pytest

from lightning_prune.schedules import Steps


def test_holds_between_the_points():
    schedule = Steps(epochs={9: 1.0, 2: 0.3, 5: 0.6})
    levels = [schedule.sparsity(e, 0.5) for e in (0, 1, 2, 4, 5, 8, 9, 100)]
    assert levels == pytest.approx([0, 0, 0.15, 0.15, 0.3, 0.3, 0.5, 0.5])
    assert schedule.events() == (2, 5, 9)


def test_counts_steps():
    assert Steps(steps={100: 1.0}).period == "step"


@pytest.mark.parametrize(
    "shares", [{1: 0.5}, {1: 0.6, 2: 0.5, 3: 1.0}, {1: -0.1, 2: 1.0}, {1: 1.0, 2: 1.5}]
)
def test_refuses_shares_that_do_not_rise_to_one(shares):
    with pytest.raises(ValueError, match=r"Expected `epochs` to be .*of the final sparsity"):
        Steps(epochs=shares)


def test_refuses_no_point():
    with pytest.raises(ValueError, match="one of the two"):
        Steps()
