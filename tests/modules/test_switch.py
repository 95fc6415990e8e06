"""A switch is on as long as anyone needs it, and off as before afterwards."""

from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import pytest

from lightning_prune.modules.switch import Switch


class Lamp:
    def __init__(self) -> None:
        self.on = False
        self.changes = 0
        self.needed = Switch(self._lit)

    @contextmanager
    def _lit(self):
        before, self.on = self.on, True
        self.changes += 1
        try:
            yield
        finally:
            self.on = before


def test_nested_uses_change_once():
    lamp = Lamp()
    with lamp.needed():
        with lamp.needed():
            assert lamp.on
        assert lamp.on
    assert (lamp.on, lamp.changes) == (False, 1)


def test_it_is_changed_back_after_an_error_and_can_be_used_again():
    lamp = Lamp()
    for _ in range(2):
        with pytest.raises(KeyError), lamp.needed():
            raise KeyError
    assert (lamp.on, lamp.changes) == (False, 2)


def test_overlapping_threads_leave_it_as_it_was():
    lamp = Lamp()

    def work(number: int) -> bool:
        seen = True
        for _ in range(200):
            with lamp.needed():
                seen &= lamp.on
        return seen

    with ThreadPoolExecutor(4) as pool:
        assert all(pool.map(work, range(20)))
    assert not lamp.on


def test_it_decorates():
    lamp = Lamp()

    @lamp.needed()
    def is_on() -> bool:
        return lamp.on

    assert is_on()
    assert is_on()
    assert not lamp.on
