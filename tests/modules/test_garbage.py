"""The garbage collector looks at what is new, and afterwards at everything again."""

import gc
import weakref

import pytest

from lightning_prune.modules.garbage import collecting_new_only


class Cycle:
    def __init__(self) -> None:
        self.self = self


def test_only_what_is_made_meanwhile_is_collected():
    gc.collect()
    before = weakref.ref(Cycle())
    with collecting_new_only():
        meanwhile = weakref.ref(Cycle())
        gc.collect()
        assert before() is not None
        assert meanwhile() is None
    gc.collect()
    assert before() is None


@pytest.mark.parametrize("depth", [1, 2])
def test_everything_is_looked_at_again_after_an_error(depth):
    def fail(left: int) -> None:
        with collecting_new_only():
            if left:
                fail(left - 1)
            raise KeyError

    with pytest.raises(KeyError):
        fail(depth - 1)
    assert gc.get_freeze_count() == 0


def test_what_was_frozen_before_stays_so():
    gc.freeze()
    try:
        with collecting_new_only():
            pass
        assert gc.get_freeze_count()
    finally:
        gc.unfreeze()
