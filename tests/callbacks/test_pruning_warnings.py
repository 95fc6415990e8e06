import pytest

from lightning_prune.callbacks.pruning_warnings import warn_missed, warn_skipped, warn_waiting
from lightning_prune.errors import TargetError
from lightning_prune.schedules import Linear

SCHEDULE = Linear(start_step=0, end_step=9)


def test_an_update_that_waits_is_named() -> None:
    with pytest.warns(UserWarning, match="update of `p` at step 3, but got none"):
        warn_waiting("p", SCHEDULE, 3)


def test_an_update_may_be_skipped_unless_it_is_the_last() -> None:
    with pytest.warns(UserWarning, match="`p` skips its update at step 3: all frozen"):
        warn_skipped("p", SCHEDULE, 3, TargetError("all frozen"))
    with pytest.raises(TargetError, match="all frozen"):
        warn_skipped("p", SCHEDULE, 9, TargetError("all frozen"))


def test_a_missed_target_is_named() -> None:
    with pytest.warns(UserWarning, match=r"sparsity 0\.5 at step 9, but got 0\.2500"):
        warn_missed("p", SCHEDULE, 0.5, 0.25)
