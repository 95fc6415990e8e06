"""A module of models in the working directory, which the command finds by name."""

import sys
from pathlib import Path

import pytest


@pytest.fixture(autouse=True)
def _model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = (
        "from torch import nn\n"
        "def net():\n"
        "    return nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2))\n"
        "def number():\n    return 3\n"
        "def words():\n    return nn.Sequential(nn.Embedding(5, 4), nn.Linear(4, 2))\n"
    )
    (tmp_path / "command_model.py").write_text(source)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "100")
    sys.modules.pop("command_model", None)
