"""The contract that every schedule passes."""

import pickle
from dataclasses import FrozenInstanceError, replace

import pytest
from support.schedule_examples import SCHEDULES as ALL
from support.schedule_examples import UNRESOLVED

from lightning_prune import schedules
from lightning_prune.schedules import Cubic, Iterative, Linear, OneShot, Regrow, Schedule, Steps

FINALS = [0.0, 0.3, 0.95]


@pytest.mark.parametrize("final", FINALS)
@pytest.mark.parametrize("schedule", ALL)
def test_nothing_before_the_start_and_all_of_it_from_the_end_on(schedule, final):
    last = final if schedule.monotone else 0.0
    assert schedule.sparsity(schedule.first - 1, final) == 0.0
    assert schedule.sparsity(schedule.last, final) == last
    assert schedule.sparsity(schedule.last + 1000, final) == last


@pytest.mark.parametrize("final", FINALS)
@pytest.mark.parametrize("schedule", ALL)
def test_stays_in_range_and_never_falls_where_that_is_claimed(schedule, final):
    levels = [schedule.sparsity(p, final) for p in range(schedule.last + 3)]
    assert all(0.0 <= level <= final for level in levels)
    if schedule.monotone:
        assert levels == sorted(levels)


@pytest.mark.parametrize("schedule", ALL)
def test_changes_only_where_due(schedule):
    changes = {
        p
        for p in range(schedule.last + 3)
        if schedule.sparsity(p, 0.9) != schedule.sparsity(p - 1, 0.9)
    }
    assert changes <= set(schedule.events())
    assert schedule.events()[0] == schedule.first
    assert schedule.events()[-1] == schedule.last
    assert list(schedule.events()) == sorted(set(schedule.events()))


@pytest.mark.parametrize("schedule", ALL)
def test_due_is_the_last_event_so_far(schedule):
    for position in range(schedule.last + 3):
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
    assert float(rows[-1][1]) == pytest.approx(schedule.sparsity(schedule.last, 0.5))
    assert float(rows[-1][2]) == pytest.approx(schedule.sparsity(schedule.last, 0.9))


@pytest.mark.parametrize("schedule", ALL)
def test_plots_its_events(schedule):
    axes = schedule.plot(0.9)
    (line,) = axes.lines
    assert list(line.get_xdata())[1:-1] == list(schedule.events())
    assert list(line.get_ydata())[1:-1] == [schedule.sparsity(p, 0.9) for p in schedule.events()]
    assert axes.get_xlabel() == schedule.period


@pytest.mark.parametrize("schedule", UNRESOLVED)
def test_fractions_become_steps(schedule):
    resolved = schedule.resolved(1000)
    assert type(resolved) is type(schedule)
    assert resolved.period == "step"
    assert not resolved.in_fractions
    assert resolved.resolved(7) is resolved
    assert resolved == schedule.resolved(1000)
    fine = schedule.resolved(10_000)
    assert [p * 10 for p in resolved.events()] == list(fine.events())
    assert [resolved.level(p, 0.9) for p in resolved.events()] == pytest.approx(
        [fine.level(p, 0.9) for p in fine.events()]
    )


def test_fractions_are_rounded_to_steps():
    assert Cubic(start=0.1, end=0.6).resolved(1000) == Cubic(start_step=100, end_step=600, every=50)
    cubic = Cubic(start=0.1, end=0.6, every=0.25)
    assert cubic.resolved(17) == Cubic(start_step=2, end_step=10, every=4)
    assert cubic.resolved(5) == Cubic(start_step=0, end_step=3, every=1)
    assert OneShot(at=0.3).resolved(9) == OneShot(step=3)
    assert Steps(fractions={0.5: 1.0, 0.25: 0.4}).resolved(8) == Steps(steps={2: 0.4, 4: 1.0})
    assert Iterative(rounds=3, start=0.1, recovery=0.2).resolved(20) == Iterative(
        rounds=3, start_step=2, recovery_steps=4
    )


@pytest.mark.parametrize("schedule", UNRESOLVED)
def test_fractions_are_refused_where_the_length_is_not_known(schedule):
    for ask in (
        schedule.events,
        lambda: schedule.period,
        lambda: schedule.sparsity(3, 0.5),
    ):
        with pytest.raises(ValueError, match=r"Expected `schedule` to be in epochs or steps.*Call"):
            ask()


@pytest.mark.parametrize("schedule", UNRESOLVED)
def test_fractions_are_printed_and_drawn(schedule):
    fine = schedule.resolved(10_000)
    fractions = [p / 10_000 for p in fine.events()]
    lines = str(schedule).splitlines()
    assert lines[0].split()[:4] == ["fraction", "of", "the", "training"]
    assert [float(line.split()[0]) for line in lines[2:]] == fractions
    axes = schedule.plot(0.9)
    (line,) = axes.lines
    assert list(line.get_xdata())[1:-1] == fractions
    assert list(line.get_ydata())[1:-1] == [fine.sparsity(p, 0.9) for p in fine.events()]
    assert axes.get_xlabel() == "fraction of the training"


def test_the_last_fraction_is_drawn_even_where_it_rounds_to_the_end():
    assert "1     0.5000" in str(OneShot(at=0.99999))


@pytest.mark.parametrize("schedule", UNRESOLVED)
def test_fractions_are_frozen_values(schedule):
    assert pickle.loads(pickle.dumps(schedule)) == schedule == replace(schedule)
    assert "None" not in repr(schedule)
    assert eval(repr(schedule), vars(schedules)) == schedule


def test_a_last_update_after_the_training_is_refused():
    with pytest.raises(ValueError, match=r"after 5 optimizer steps, but got .*due at step 5\. End"):
        Cubic(start=0.1, end=0.99).resolved(5)


def test_fractions_that_are_one_step_are_refused():
    with pytest.raises(ValueError, match=r"long enough for Linear.*3 optimizer steps\. Expected"):
        Linear(start=0.1, end=0.15).resolved(3)


@pytest.mark.parametrize("steps", [0, 2.5, None])
def test_a_length_is_an_integer(steps):
    with pytest.raises((ValueError, TypeError), match="Expected `steps` to be an integer"):
        OneShot(at=0.5).resolved(steps)


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
