import pytest

from lightning_prune.callbacks.trainer.monitors import Attempts


def test_what_is_raised_becomes_one_warning() -> None:
    attempts = Attempts("Watcher")
    with attempts.attempt():
        pass
    assert not attempts.failed
    with (
        pytest.warns(UserWarning, match=r"Watcher measures nothing more .* KeyError: 'x'"),
        attempts.attempt(),
    ):
        raise KeyError("x")
    assert attempts.failed


def test_an_interruption_goes_through() -> None:
    attempts = Attempts("Watcher")
    with pytest.raises(KeyboardInterrupt), attempts.attempt():
        raise KeyboardInterrupt
    assert not attempts.failed
