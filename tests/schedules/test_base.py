"""The contract that every schedule passes."""

import pickle
from dataclasses import FrozenInstanceError

import pytest

from lightning_prune import schedules
from lightning_prune.schedules import Cubic, Linear, OneShot, Schedule

EXAMPLES = {
    "OneShot": [OneShot(epoch=3), OneShot(step=0)],
    "Linear": [Linear(start_epoch=2, end_epoch=9), Linear(start_step=5, end_step=31, every=7)],
    "Cubic": [Cubic(start_epoch=0, end_epoch=9), Cubic(start_step=5, end_step=31, every=7)],
}
LEAVES = [name for name in schedules.__all__ if name != "Schedule"]
ALL = [pytest.param(s, id=str(s)) for name in LEAVES for s in EXAMPLES[name]]


@pytest.mark.parametrize("schedule", ALL)
def test_nothing_before_the_start_and_everything_from_the_end_on(schedule):
    assert schedule.fraction(schedule.start - 1) == 0.0
    assert schedule.fraction(schedule.end) == 1.0
    assert schedule.fraction(schedule.end + 1000) == 1.0
    assert schedule.sparsity(schedule.end, final=0.3) == 0.3


@pytest.mark.parametrize("schedule", ALL)
def test_never_falls_and_stays_a_fraction(schedule):
    fractions = [schedule.fraction(p) for p in range(schedule.end + 3)]
    assert fractions == sorted(fractions)
    assert all(0.0 <= f <= 1.0 for f in fractions)


@pytest.mark.parametrize("schedule", ALL)
def test_changes_only_where_due(schedule):
    changes = {
        p for p in range(schedule.end + 3) if schedule.fraction(p) != schedule.fraction(p - 1)
    }
    assert changes <= set(schedule.events())
    assert schedule.events()[0] == schedule.start
    assert schedule.events()[-1] == schedule.end


@pytest.mark.parametrize("schedule", ALL)
def test_due_is_the_last_event_so_far(schedule):
    for position in range(schedule.end + 3):
        past = [e for e in schedule.events() if e <= position]
        assert schedule.due(position) == (past[-1] if past else None)


@pytest.mark.parametrize("schedule", ALL)
def test_is_a_frozen_value(schedule):
    assert pickle.loads(pickle.dumps(schedule)) == schedule
    with pytest.raises(FrozenInstanceError):
        schedule.every = 2


def test_describe_lists_every_event():
    table = Linear(start_epoch=1, end_epoch=3).describe(0.5)
    cells = [line.split() for line in table.splitlines()]
    assert cells[0] == ["epoch", "sparsity"]
    assert cells[-3:] == [["1", "0.0000"], ["2", "0.2500"], ["3", "0.5000"]]


def test_the_base_is_abstract():
    with pytest.raises(TypeError, match="abstract"):
        Schedule()
