"""Forked work ends with a result, a reason, or a timeout."""

import os
import signal
import time

import pytest

from support.mutants.forked import Pool, Task

# Newer versions of Python say so in a process with threads.
pytestmark = pytest.mark.filterwarnings("ignore:.*use of fork:DeprecationWarning")


def run(*works, seconds=30, memory=4):
    pool = Pool(jobs=2, memory_gib=memory)
    pool.waiting.extend(Task(index, work, seconds) for index, work in enumerate(works))
    ended = {end.subject: end for end in pool.results()}
    return [ended[index] for index in range(len(works))]


def hang(scratch):
    if os.fork() == 0:
        time.sleep(60)
    time.sleep(60)


def test_results_come_from_other_processes():
    ends = run(*[lambda scratch: f"{os.getpid()} {os.listdir(scratch)}"] * 3)
    assert len({end.result for end in ends} | {f"{os.getpid()} []"}) == 4


def test_what_hangs_is_ended_with_its_children():
    start = time.monotonic()
    (end,) = run(hang, seconds=0.5)
    assert (end.result, end.problem) == (None, "timeout")
    assert time.monotonic() - start < 30


@pytest.mark.parametrize(
    ("work", "problem"),
    [
        pytest.param(lambda scratch: str(1 // 0), "ZeroDivisionError", id="error"),
        pytest.param(lambda scratch: str(len(bytearray(2**33))), "MemoryError", id="memory"),
        pytest.param(lambda scratch: os.kill(os.getpid(), signal.SIGKILL), "", id="crash"),
    ],
)
def test_what_fails_says_why(work, problem):
    (end,) = run(work)
    assert end.result is None
    assert problem in end.problem
