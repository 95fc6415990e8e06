"""The contract that every schedule passes."""

import pickle
from dataclasses import FrozenInstanceError, replace

import pytest
from support.schedule_examples import SCHEDULES as ALL

from lightning_prune.schedules import Linear, Regrow, Schedule

FINALS = [0.0, 0.3, 0.95]


@pytest.mark.parametrize("final", FINALS)
@pytest.mark.parametrize("schedule", ALL)
def test_nothing_before_the_start_and_all_of_it_from_the_end_on(schedule, final):
    last = final if schedule.monotone else 0.0
    assert schedule.sparsity(schedule.start - 1, final) == 0.0
    assert schedule.sparsity(schedule.end, final) == last
    assert schedule.sparsity(schedule.end + 1000, final) == last


@pytest.mark.parametrize("final", FINALS)
@pytest.mark.parametrize("schedule", ALL)
def test_stays_in_range_and_never_falls_where_that_is_claimed(schedule, final):
    levels = [schedule.sparsity(p, final) for p in range(schedule.end + 3)]
    assert all(0.0 <= level <= final for level in levels)
    if schedule.monotone:
        assert levels == sorted(levels)


@pytest.mark.parametrize("schedule", ALL)
def test_changes_only_where_due(schedule):
    changes = {
        p
        for p in range(schedule.end + 3)
        if schedule.sparsity(p, 0.9) != schedule.sparsity(p - 1, 0.9)
    }
    assert changes <= set(schedule.events())
    assert schedule.events()[0] == schedule.start
    assert schedule.events()[-1] == schedule.end
    assert list(schedule.events()) == sorted(set(schedule.events()))


@pytest.mark.parametrize("schedule", ALL)
def test_due_is_the_last_event_so_far(schedule):
    for position in range(schedule.end + 3):
        past = [e for e in schedule.events() if e <= position]
        assert schedule.due(position) == (past[-1] if past else None)


@pytest.mark.parametrize("schedule", ALL)
def test_exchanges_a_share_of_what_it_keeps_only_where_it_regrows(schedule):
    shares = [schedule.exchange(p) for p in schedule.events()]
    assert all(0.0 <= share < 1.0 for share in shares)
    assert any(shares) == schedule.regrows == isinstance(schedule, Regrow)


@pytest.mark.parametrize("schedule", ALL)
def test_is_a_frozen_value(schedule):
    assert pickle.loads(pickle.dumps(schedule)) == schedule == replace(schedule)
    with pytest.raises(FrozenInstanceError):
        schedule.every = 2


@pytest.mark.parametrize("schedule", ALL)
def test_prints_a_row_for_every_event(schedule):
    rows = [line.split() for line in str(schedule).splitlines()[2:]]
    assert [int(row[0]) for row in rows] == list(schedule.events())
    assert float(rows[-1][1]) == pytest.approx(schedule.sparsity(schedule.end, 0.5))
    assert float(rows[-1][2]) == pytest.approx(schedule.sparsity(schedule.end, 0.9))


@pytest.mark.parametrize("schedule", ALL)
def test_plots_its_events(schedule):
    axes = schedule.plot(0.9)
    (line,) = axes.lines
    assert list(line.get_xdata())[1:-1] == list(schedule.events())
    assert list(line.get_ydata())[1:-1] == [schedule.sparsity(p, 0.9) for p in schedule.events()]
    assert axes.get_xlabel() == schedule.period


def test_describe_lists_every_event():
    table = Linear(start_epoch=1, end_epoch=3).describe(0.5)
    cells = [line.split() for line in table.splitlines()]
    assert cells[0] == ["epoch", "sparsity"]
    assert cells[-3:] == [["1", "0.0000"], ["2", "0.2500"], ["3", "0.5000"]]


def test_of_a_long_table_the_middle_is_left_out():
    lines = Linear(start_step=0, end_step=100_000).describe(0.5).splitlines()
    assert len(lines) == 2 + 40 + 1
    assert lines[-1].split() == ["100000", "0.5000"]


def test_the_base_is_abstract():
    with pytest.raises(TypeError, match="abstract"):
        Schedule()
