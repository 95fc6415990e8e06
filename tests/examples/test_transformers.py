"""The transformers example runs: heads, hidden units and layers go, and the file holds the rest."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLE = Path(__file__).parents[2] / "examples" / "transformers"


@pytest.mark.slow
def test_a_bert_loses_heads_hidden_units_and_layers(tmp_path: Path) -> None:
    pytest.importorskip("transformers")
    config = (EXAMPLE / "prune.yaml").read_text()
    for old, new in (
        ("max_epochs: 24", "max_epochs: 4"),
        ("OneShot, init_args: {epoch: 6}", "OneShot, init_args: {epoch: 1}"),
        ("start_epoch: 7, end_epoch: 14", "start_epoch: 2, end_epoch: 3"),
    ):
        assert old in config
        config = config.replace(old, new)
    (tmp_path / "config.yaml").write_text(config)
    command = [sys.executable, str(EXAMPLE / "train.py"), "fit", "--config=config.yaml"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    report = json.loads((tmp_path / done.stdout.strip().splitlines()[-1]).read_text())
    assert report["same_as_trained"]
    left = report["left"]
    assert 0 < sum(left["heads"]) <= 16 // 2
    assert (left["heads"] + left["hidden units"]).count(0) == 2  # of eight branches
    assert 0 < sum(left["hidden units"]) < 0.45 * 4 * 256
    assert report["compaction/params_after"] < 0.55 * report["compaction/params_before"]
