import pytest

from lightning_prune.allocations import Global, Uniform
from lightning_prune.criteria import GeometricMedian, Gradient, Grasp, Magnitude, Wanda
from lightning_prune.granularities import Block, Channel, Layer, Weight
from lightning_prune.pruning.checks import (
    check_groups,
    check_regrows,
    check_regularization,
    check_release,
    check_start,
)
from lightning_prune.regularizations import GrowingL2
from lightning_prune.schedules import Cubic, DenseSparseDense, OneShot


def test_channels_cannot_grow_again() -> None:
    assert check_regrows(Weight()) is None
    assert check_regrows(Block(2, 2)) is None
    with pytest.raises(ValueError, match=r"can grow again, but got Channel"):
        check_regrows(Channel())


def test_groups_of_one_unit_are_not_shared_among_their_units() -> None:
    assert check_groups(Layer(), Magnitude(), Global()) is None
    with pytest.raises(ValueError, match=r"Expected `criterion` to score every unit by itself"):
        check_groups(Layer(), GeometricMedian(), Global())
    for allocation in (Uniform(), Global(max_sparsity=0.5)):
        with pytest.raises(ValueError, match="Expected `allocation` to rank the units of all"):
            check_groups(Layer(), Magnitude(), allocation)


def test_a_regularization_needs_scores_at_every_step() -> None:
    assert check_regularization(None, Wanda()) is None
    assert check_regularization(GrowingL2(), Magnitude()) is None
    with pytest.raises(ValueError, match="reads weights or gradients"):
        check_regularization(GrowingL2(), Wanda())


def test_whole_branches_are_not_released() -> None:
    falling = DenseSparseDense(start_epoch=1, end_epoch=2)
    check_release(falling, Channel())
    check_release(OneShot(epoch=1), Layer())
    with pytest.raises(
        ValueError, match=r"sparsity never falls for Layer\(\), but got DenseSparse"
    ):
        check_release(falling, Layer())


def test_scores_come_before_the_first_update() -> None:
    check_start(OneShot(step=0), Magnitude())
    check_start(Cubic(start_epoch=0, end_epoch=9), Gradient())  # starts with nothing
    with pytest.raises(ValueError, match=r"no gradients have been seen yet\. Start at step 1"):
        check_start(OneShot(step=0), Gradient())


def test_what_takes_the_loss_itself_is_not_scored_in_training() -> None:
    with pytest.raises(ValueError, match=r"training can score, but got Grasp\(\)"):
        check_start(OneShot(epoch=1), Grasp())


def test_fractions_are_checked_once_they_are_steps() -> None:
    check_start(OneShot(at=0.0), Gradient())
    with pytest.raises(ValueError, match="no gradients have been seen yet"):
        check_start(OneShot(at=0.0).resolved(9), Gradient())
