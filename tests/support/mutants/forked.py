"""Work in forked processes: what is imported once is there in each, and none disturbs another."""

from __future__ import annotations

import contextlib
import os
import resource
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeVar

Subject = TypeVar("Subject")


@dataclass(frozen=True)
class Task(Generic[Subject]):
    """What a process does.

    Args:
        subject: what it is about.
        work: called in the process with an empty folder; returns the result.
        seconds: how long it may take.
    """

    subject: Subject
    work: Callable[[Path], str]
    seconds: float


@dataclass(frozen=True)
class Ended(Generic[Subject]):
    """A task that is over.

    Args:
        subject: what it was about.
        result: what the work returned; ``None`` where it did not.
        problem: why it did not: ``"timeout"`` or the end of what was printed.
    """

    subject: Subject
    result: str | None
    problem: str = ""


@dataclass(frozen=True)
class _Running(Generic[Subject]):
    task: Task[Subject]
    folder: Path
    deadline: float


class Pool(Generic[Subject]):
    """Tasks that wait, and processes that run, at most ``jobs`` at a time.

    Args:
        jobs: how many run at a time.
        memory_gib: how much data a process may hold.
    """

    def __init__(self, jobs: int, memory_gib: float) -> None:
        self.waiting: deque[Task[Subject]] = deque()
        self._jobs = jobs
        self._bytes = int(memory_gib * 2**30)
        self._running: dict[int, _Running[Subject]] = {}
        self._late: set[int] = set()

    def results(self) -> Iterator[Ended[Subject]]:
        """Yield what ends, in that order, until nothing waits or runs; tasks may be added."""
        scratch = Path(tempfile.mkdtemp(prefix="forked-"))
        started = 0
        try:
            while self.waiting or self._running:
                while self.waiting and len(self._running) < self._jobs:
                    started += 1
                    self._start(self.waiting.popleft(), scratch / str(started))
                yield from self._ended()
        finally:
            for pid in self._running:
                _kill(pid)
                os.waitpid(pid, 0)
            self._running.clear()
            shutil.rmtree(scratch, ignore_errors=True)

    def _start(self, task: Task[Subject], folder: Path) -> None:
        (folder / "tmp").mkdir(parents=True)
        sys.stdout.flush()
        sys.stderr.flush()
        pid = os.fork()
        if pid == 0:
            _be_child(task, folder, self._bytes)
        with contextlib.suppress(OSError):  # the child does so, too: whichever comes first
            os.setpgid(pid, pid)
        self._running[pid] = _Running(task, folder, time.monotonic() + task.seconds)

    def _ended(self) -> Iterator[Ended[Subject]]:
        for pid, running in self._running.items():
            if time.monotonic() > running.deadline and pid not in self._late:
                self._late.add(pid)
                _kill(pid)
        for pid in list(self._running):
            if os.waitpid(pid, os.WNOHANG)[0]:
                _kill(pid)  # processes that it left behind
                yield self._ending(pid, self._running.pop(pid))
                return
        time.sleep(0.02)

    def _ending(self, pid: int, running: _Running[Subject]) -> Ended[Subject]:
        result, log = running.folder / "result", running.folder / "log"
        if result.exists():
            ended = Ended(running.task.subject, result.read_text())
        elif pid in self._late:
            ended = Ended(running.task.subject, None, "timeout")
        else:
            ended = Ended(running.task.subject, None, log.read_text(errors="replace")[-2000:])
        shutil.rmtree(running.folder, ignore_errors=True)
        self._late.discard(pid)
        return ended


def _be_child(task: Task[Subject], folder: Path, most_bytes: int) -> None:
    """Do the work and end the process, whatever happens."""
    try:
        os.setpgid(0, 0)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        log = os.open(folder / "log", os.O_WRONLY | os.O_CREAT)
        for stream, file in enumerate((os.open(os.devnull, os.O_RDONLY), log, log)):
            os.dup2(file, stream)
        sys.stdout = sys.stderr = os.fdopen(2, "w", buffering=1, closefd=False)
        resource.setrlimit(resource.RLIMIT_DATA, (most_bytes, most_bytes))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        text = task.work(folder / "tmp")
        (folder / "part").write_text(text)
        (folder / "part").rename(folder / "result")
    except BaseException:
        traceback.print_exc()
        sys.stderr.flush()
    finally:
        os._exit(0)


def _kill(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, signal.SIGKILL)
