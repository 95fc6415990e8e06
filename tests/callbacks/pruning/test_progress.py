import pytest

from lightning_prune.callbacks.pruning.progress import Progress
from lightning_prune.schedules import Linear

SCHEDULE = Linear(start_epoch=2, end_epoch=6, every=2)


def test_every_due_position_comes_once():
    place, seen = Progress(), []
    for epoch in range(10):
        due = place.next_due(SCHEDULE, epoch)
        if due is not None:
            seen.append(due)
            place.reach(due)
    assert seen == [2, 4, 6]
    assert not place.is_open(SCHEDULE)


def test_one_more_update_although_nothing_is_due():
    place = Progress(due=6, done=6)
    place.relimit(0.5)
    assert place.is_open(SCHEDULE)
    assert place.next_due(SCHEDULE, 9) == 6
    place.reach(6)
    assert place.next_due(SCHEDULE, 9) is None


def test_no_target_beyond_the_limit():
    place = Progress(limit=0.3)
    targets = [place.target(SCHEDULE, due, 0.8) for due in (2, 4, 6)]
    assert targets == pytest.approx([0.0, 0.3, 0.3])


def test_the_next_target():
    targets = [Progress(done=done).next_target(SCHEDULE, 0.8) for done in (-1, 2, 4, 6)]
    assert targets == pytest.approx([0.0, 0.4, 0.8, 0.0])


def test_the_state_comes_back():
    place = Progress(3, 2, 0.5, True)
    other = Progress()
    other.load_state_dict(place.state_dict() | {"more": 1})
    assert other == place
