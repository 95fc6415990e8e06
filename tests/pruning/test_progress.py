import pytest

from lightning_prune.pruning.progress import Progress
from lightning_prune.schedules import Linear

SCHEDULE = Linear(start_epoch=2, end_epoch=6, every=2)


def test_every_due_position_comes_once():
    progress, seen = Progress(), []
    for epoch in range(10):
        due = progress.next_due(SCHEDULE, epoch)
        if due is not None:
            seen.append(due)
            progress.mark_done(due)
    assert seen == [2, 4, 6]
    assert not progress.is_unfinished(SCHEDULE)


def test_one_more_update_although_nothing_is_due():
    progress = Progress(due=6, done=6)
    progress.set_limit(0.5)
    assert progress.is_unfinished(SCHEDULE)
    assert progress.next_due(SCHEDULE, 9) == 6
    progress.mark_done(6)
    assert progress.next_due(SCHEDULE, 9) is None


def test_no_target_beyond_the_limit():
    progress = Progress(limit=0.3)
    targets = [progress.target(SCHEDULE, due, 0.8) for due in (2, 4, 6)]
    assert targets == pytest.approx([0.0, 0.3, 0.3])


def test_the_next_target():
    targets = [Progress(done=done).next_target(SCHEDULE, 0.8) for done in (-1, 2, 4, 6)]
    assert targets == pytest.approx([0.0, 0.4, 0.8, 0.0])


def test_the_state_comes_back():
    progress = Progress(3, 2, 0.5, True)
    other = Progress()
    other.load_state_dict(progress.state_dict() | {"more": 1})
    assert other == progress
