"""The recurrent example runs: hidden units go, and the smaller network is written."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLE = Path(__file__).parents[2] / "examples" / "rnn"


@pytest.mark.slow
def test_an_lstm_loses_hidden_units(tmp_path: Path) -> None:
    config = (EXAMPLE / "prune.yaml").read_text()
    for old, new in (
        ("max_epochs: 30", "max_epochs: 6"),
        ("start_epoch: 5, end_epoch: 20", "start_epoch: 2, end_epoch: 4"),
    ):
        assert old in config
        config = config.replace(old, new)
    (tmp_path / "config.yaml").write_text(config)
    command = [sys.executable, str(EXAMPLE / "train.py"), "fit", "--config=config.yaml"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    report = json.loads((tmp_path / done.stdout.strip().splitlines()[-1]).read_text())
    assert report["hidden_units"][0] == report["hidden_units"][1] < 36
    assert report["compaction/params_after"] < 0.27 * report["compaction/params_before"]
    assert report["test/relative_error"] < 1.1
    assert list(tmp_path.rglob("compact.safetensors"))
