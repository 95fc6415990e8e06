"""The warm-up lasts until times are stable; then runs are timed in turns."""

from __future__ import annotations

import numpy as np
import pytest

from lightning_prune.measure import turns
from lightning_prune.measure.turns import take_turns


class Machine:
    """Stands in for the module ``time``; runs take the milliseconds that it is told."""

    def __init__(self) -> None:
        self.now_s = 0.0

    def perf_counter(self) -> float:
        return self.now_s

    def run(self, *times_ms: float) -> turns.Run:
        left = list(times_ms)

        def run_ms() -> float:
            time_ms = left.pop(0) if len(left) > 1 else left[0]
            self.now_s += time_ms / 1e3
            return time_ms

        return run_ms


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Machine:
    stand_in = Machine()
    monkeypatch.setattr(turns, "time", stand_in)
    return stand_in


def test_the_warm_up_ends_when_two_windows_agree(machine: Machine) -> None:
    # Windows of two: 50, then 20, then 10 and 10.
    run = machine.run(50, 50, 20, 20, 10, 10, 10, 10, 7)
    times = take_turns([run], warmup_runs=2, min_runs=3, max_seconds=0.4)
    assert times[0, 0] == 7


def test_every_run_must_be_stable(machine: Machine) -> None:
    steady, slow = machine.run(10), machine.run(9, 7, 5, 5, 3)
    times = take_turns([steady, slow], warmup_runs=1, min_runs=1, max_seconds=1)
    assert times[0].tolist() == [10, 3]


def test_the_warm_up_ends_in_half_of_the_time_all_the_same(machine: Machine) -> None:
    run = machine.run(*[2.0**i for i in range(20)])
    times = take_turns([run], warmup_runs=1, min_runs=1, max_seconds=2 * 15e-3)
    assert times[0, 0] == 2.0**4  # 1 + 2 + 4 + 8 ms are over


def test_without_warm_up_the_first_run_counts(machine: Machine) -> None:
    times = take_turns([machine.run(50, 1)], warmup_runs=0, min_runs=2, max_seconds=1e-9)
    assert np.array_equal(times, [[50], [1]])
