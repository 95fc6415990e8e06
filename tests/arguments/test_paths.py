import os
from pathlib import Path
from typing import Any

import pytest

from lightning_prune.arguments import check_writable, path_of


@pytest.mark.parametrize("path", ["small", Path("small")])
def test_a_path_is_a_text_or_a_path(path: Any) -> None:
    assert path_of(path) == "small"


@pytest.mark.parametrize("path", [None, 3, True, b"small", ["small"]])
def test_nothing_else_is_a_path(path: Any) -> None:
    with pytest.raises(TypeError, match="Expected `path` to be a path, but got"):
        path_of(path)


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("", "names no file"),
        (".", "names no file"),
        ("absent/", "names no file"),
        ("absent/small.safetensors", "whose folder 'absent' does not exist"),
    ],
)
def test_a_path_that_cannot_be_written_is_refused(
    path: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match=f"Expected `path` .*{message}"):
        check_writable(path)


def test_a_folder_that_must_not_be_written_to_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    with pytest.raises(ValueError, match="must not be written to"):
        check_writable(str(tmp_path / "small.safetensors"))


def test_a_path_in_a_folder_passes(tmp_path: Path) -> None:
    assert check_writable(str(tmp_path / "small.safetensors")) is None
