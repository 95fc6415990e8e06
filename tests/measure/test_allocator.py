"""Memory that timed runs free stays with the process, and only while they are timed."""

from __future__ import annotations

import ctypes
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from lightning_prune.measure import allocator
from lightning_prune.measure.allocator import memory_kept
from lightning_prune.measure.turns import take_turns

HUNDRED_MIB = 100 * 2**20


class Library:
    """Stands in for the C library, and notes what it is told."""

    def __init__(self) -> None:
        self.told: list[tuple[int, int]] = []

    def mallopt(self, what: int, value: int) -> int:
        self.told.append((what, value))
        return 1


@pytest.fixture
def library(monkeypatch: pytest.MonkeyPatch) -> Library:
    stand_in = Library()
    monkeypatch.setattr(allocator, "_glibc", lambda: stand_in)
    return stand_in


def resident_bytes() -> int:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * 4096


def use_and_free() -> int:
    """Return how many bytes more are resident after a tensor of 100 MiB came and went."""
    before = resident_bytes()
    torch.ones(HUNDRED_MIB // 4)
    return resident_bytes() - before


@pytest.mark.skipif(allocator._glibc() is None, reason="another C library, or told otherwise")
def test_what_is_freed_stays_only_inside() -> None:
    """In a process of its own, as it depends on what was freed before."""
    done = subprocess.run([sys.executable, __file__], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    before, inside = map(int, done.stdout.split())
    assert before < HUNDRED_MIB / 2 < inside


def test_thresholds_are_set_back_whatever_happens(library: Library) -> None:
    with pytest.raises(KeyError), memory_kept():
        raise KeyError
    inside, after = dict(library.told[:2]), dict(library.told[2:])
    assert inside.keys() == after.keys()
    assert set(inside.values()) == {2**31 - 1}
    assert max(after.values()) <= 64 * 2**20


def test_runs_are_timed_inside(library: Library) -> None:
    told: list[int] = []

    def run() -> float:
        told.append(len(library.told))
        return 1.0

    take_turns([run], warmup_runs=1, min_runs=1, max_seconds=1e-9)
    assert set(told) == {2}
    assert len(library.told) == 4


@pytest.mark.parametrize(
    ("name", "value"),
    [("MALLOC_TRIM_THRESHOLD_", "1"), ("GLIBC_TUNABLES", "glibc.malloc.top_pad=1")],
)
def test_what_the_environment_says_stays(
    name: str, value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, value)
    assert allocator._glibc() is None


def test_other_libraries_are_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ctypes, "CDLL", lambda _: object())
    assert allocator._glibc() is None
    monkeypatch.setattr(sys, "platform", "darwin")
    assert allocator._glibc() is None


if __name__ == "__main__":
    print(use_and_free())
    with memory_kept():
        print(use_and_free())
