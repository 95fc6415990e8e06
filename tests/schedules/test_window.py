import numpy as np
import pytest

from lightning_prune.schedules.window import Window, moment, points, rounds, span


def test_the_end_is_due_also_off_the_grid():
    assert Window("step", range(2, 9, 3), 9).positions == (2, 5, 8, 9)


def test_the_end_is_due_once_on_the_grid():
    assert Window("step", range(2, 8, 3), 8).positions == (2, 5, 8)


@pytest.mark.parametrize(
    ("position", "due"), [(1, None), (2, 2), (4, 2), (5, 5), (8, 8), (9, 9), (50, 9)]
)
def test_due(position, due):
    assert Window("step", range(2, 9, 3), 9).due(position) == due


@pytest.mark.parametrize(
    ("position", "after"), [(-1, 2), (2, 5), (4, 5), (5, 8), (8, 9), (9, None), (50, None)]
)
def test_after(position, after):
    assert Window("step", range(2, 9, 3), 9).after(position) == after


def test_bounds_say_what_positions_count():
    assert span(2, 12, None, None, 1) == Window("epoch", range(2, 12), 12)
    assert span(None, None, 20, 120, 10) == Window("step", range(20, 120, 10), 120)
    assert moment(3, None) == Window("epoch", (), 3)
    assert moment(None, 0) == Window("step", (), 0)


@pytest.mark.parametrize(
    ("bounds", "message"),
    [
        pytest.param((None, None, None, None, 1), "bounds, but got none. Give", id="none"),
        pytest.param((1, 2, 1, 2, 1), "got start_epoch=1, end_epoch=2, start_step", id="both"),
        pytest.param((1, None, None, 5, 1), "got start_epoch=1, end_step=5. Give", id="mixed"),
        pytest.param((1, None, None, None, 1), "Expected `end_epoch` to be given", id="no end"),
        pytest.param((None, 1, None, None, 1), "Expected `start_epoch`", id="no start"),
        pytest.param((-1, 2, None, None, 1), "Expected `start_epoch`.*got -1", id="negative"),
        pytest.param((None, None, 9, 3, 1), "Expected `end_step` to be after", id="reversed"),
        pytest.param((3, 3, None, None, 1), r"use `OneShot\(epoch=3\)`", id="empty"),
        pytest.param((1, 2, None, None, 0), "Expected `every`.*at least 1", id="every"),
        pytest.param((False, 2, None, None, 1), "Expected `start_epoch`.*got False", id="bool"),
        pytest.param((1, 2.5, None, None, 1), "Expected `end_epoch`.*integer", id="float"),
    ],
)
def test_wrong_bounds_are_refused(bounds, message):
    with pytest.raises(ValueError, match=message):
        span(*bounds)


@pytest.mark.parametrize("given", [(None, None), (1, 100)])
def test_a_moment_takes_exactly_one_position(given):
    with pytest.raises(ValueError, match="Expected `epoch` or `step`"):
        moment(*given)


def test_a_moment_is_not_negative():
    with pytest.raises(ValueError, match=r"Expected `step`.*got -2"):
        moment(None, -2)


def test_points_are_sorted():
    assert points([9, 2, 5], None) == Window("epoch", (2, 5), 9)
    assert points(None, [7]) == Window("step", (), 7)


@pytest.mark.parametrize("given", [(None, None), ([], None), ([1], [2])])
def test_points_are_of_one_kind(given):
    with pytest.raises(ValueError, match="Expected positions in `epochs` or in `steps`"):
        points(*given)


def test_points_are_not_negative():
    with pytest.raises(ValueError, match=r"Expected `epochs`.*got -1"):
        points([-1, 2], None)


def test_rounds_are_equally_far_apart():
    assert rounds(3, 2, 4, None, None).positions == (2, 6, 10)
    assert rounds(1, None, None, 5, 100).positions == (5,)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        pytest.param((3, None, None, None, None), "Expected one pair of bounds", id="none"),
        pytest.param((3, 1, 2, 1, 2), "Expected one pair of bounds", id="both"),
        pytest.param(
            (3, 1, None, None, None),
            "Expected `recovery_epochs` to be given beside start_epoch=1.*one round to the next",
            id="no recovery",
        ),
        pytest.param((0, 1, 2, None, None), "Expected `rounds`", id="no round"),
    ],
)
def test_wrong_rounds_are_refused(given, message):
    with pytest.raises(ValueError, match=message):
        rounds(*given)


@pytest.mark.parametrize(
    "window",
    [
        moment(np.int64(3), None),
        span(np.int64(1), np.int64(4), None, None, np.int32(2)),
        points([np.int64(1), np.int64(2)], None),
        rounds(np.int64(2), np.int64(1), np.int64(2), None, None),
    ],
)
def test_positions_are_integers_that_checkpoints_can_hold(window: Window) -> None:
    assert {type(position) for position in window.positions} == {int}
