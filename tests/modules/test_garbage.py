"""Full collections wait; nothing is kept for ever, and the collector is as it was afterwards."""

import gc
import weakref

import pytest

from lightning_prune.modules.garbage import no_full_collections


class Cycle:
    def __init__(self) -> None:
        self.self = self


def test_thresholds_are_as_before_also_after_an_error():
    @no_full_collections()
    def fail() -> None:
        assert gc.get_threshold()[:2] == before[:2]
        assert gc.get_threshold()[2] > 1e6
        raise KeyError

    before = gc.get_threshold()
    with pytest.raises(KeyError):
        fail()
    assert gc.get_threshold() == before


def test_garbage_does_not_pile_up():
    living: weakref.WeakSet[Cycle] = weakref.WeakSet()
    for _ in range(3000):
        for _ in range(20):
            living.add(Cycle())
        with no_full_collections():
            pass
    assert len(living) < 6000  # of 60,000: young ones are collected meanwhile
