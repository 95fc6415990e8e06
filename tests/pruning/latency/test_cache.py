"""Times are measured once; a file that cannot be trusted is as good as none."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from lightning_prune.pruning.latency import cache
from lightning_prune.pruning.latency.cache import cache_folder, cached_times

CONDITIONS = {"machine": ["a", 1], "shape": [2, 3]}
TIMES = {"conv": 1.5, "head": 0.25}


@pytest.fixture
def folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    monkeypatch.setenv(cache.VARIABLE, str(tmp_path))
    return tmp_path


def never() -> dict[str, float]:
    raise AssertionError


def test_the_second_time_nothing_is_measured(folder: Path) -> None:
    assert cached_times(CONDITIONS, lambda: TIMES) == TIMES
    assert cached_times(CONDITIONS, never) == TIMES
    assert [file.suffix for file in folder.iterdir()] == [".json"]


@pytest.mark.usefixtures("folder")
def test_other_conditions_are_measured_anew() -> None:
    cached_times(CONDITIONS, lambda: TIMES)
    assert cached_times(CONDITIONS | {"machine": "b"}, lambda: {"conv": 9.0}) == {"conv": 9.0}


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        "[" * 100_000,
        "null",
        json.dumps({"conditions": CONDITIONS}),
        json.dumps({"conditions": CONDITIONS, "times_ms": [1]}),
        json.dumps({"conditions": CONDITIONS, "times_ms": {"conv": "1"}}),
        json.dumps({"conditions": CONDITIONS, "times_ms": {"conv": -1.0}}),
        json.dumps({"conditions": CONDITIONS, "times_ms": {"conv": float("nan")}}),
        json.dumps({"conditions": {}, "times_ms": {"conv": 1.0}}),
    ],
    ids=range(11),
)
def test_a_damaged_file_is_measured_again_and_replaced(folder: Path, text: str) -> None:
    cached_times(CONDITIONS, lambda: TIMES)
    (file,) = folder.iterdir()
    file.write_text(text)
    assert cached_times(CONDITIONS, lambda: TIMES) == TIMES
    assert cached_times(CONDITIONS, never) == TIMES


def test_bytes_that_are_no_text_are_ignored(folder: Path) -> None:
    cached_times(CONDITIONS, lambda: TIMES)
    (file,) = folder.iterdir()
    file.write_bytes(b"\xff\xfe\x00")
    assert cached_times(CONDITIONS, lambda: TIMES) == TIMES


def test_a_folder_that_cannot_be_written_is_no_obstacle(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv(cache.VARIABLE, str(tmp_path / "file" / "folder"))
    assert cached_times(CONDITIONS, lambda: TIMES) == TIMES


@pytest.mark.parametrize(
    ("system", "variable"), [("Linux", "XDG_CACHE_HOME"), ("Windows", "LOCALAPPDATA")]
)
def test_the_folder_is_the_platforms(
    system: str, variable: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv(cache.VARIABLE, raising=False)
    monkeypatch.setattr(cache.platform, "system", lambda: system)
    monkeypatch.setenv(variable, str(tmp_path))
    assert cache_folder() == tmp_path / "lightning_prune"
