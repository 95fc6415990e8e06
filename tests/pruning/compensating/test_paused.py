"""Runs that pause: one at a time, in the order in which they are told to go on."""

from collections.abc import Callable

import pytest

from lightning_prune.pruning.compensating.paused import PausedRun

Pause = Callable[[str], None]


def test_runs_go_from_pause_to_pause_one_at_a_time() -> None:
    log: list[str] = []

    def counts(name: str) -> Callable[[Pause], None]:
        def run(pause: Pause) -> None:
            for number in "12":
                log.append(name + number)
                pause(name + number)
            log.append(f"{name} ends")

        return run

    a, b = PausedRun(counts("a")), PausedRun(counts("b"))
    assert log == []
    assert [run.resume() for run in (a, b, b, a, a, b)] == ["a1", "b1", "b2", "a2", None, None]
    assert log == ["a1", "b1", "b2", "a2", "a ends", "b ends"]
    assert a.resume() is None


def test_what_a_run_raises_is_raised_where_it_is_waited_for() -> None:
    def fails(pause: Pause) -> None:
        pause("once")
        raise ValueError("broken")

    run = PausedRun(fails)
    assert run.resume() == "once"
    with pytest.raises(ValueError, match="broken"):
        run.resume()
    run.stop()


@pytest.mark.parametrize("resumed", [0, 1, 3])
def test_a_run_can_be_stopped_wherever_it_is(resumed: int) -> None:
    left: list[str] = []

    def run(pause: Pause) -> None:
        try:
            for _ in range(2):
                try:
                    pause("here")
                except Exception:  # as a model might
                    left.append("held up")
        finally:
            left.append("left")

    paused = PausedRun(run)
    for _ in range(resumed):
        paused.resume()
    paused.stop()
    assert left == (["left"] if resumed else [])
    assert paused.resume() is None
