"""The detection example runs: a detector loses channels and finds shapes all the same."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLE = Path(__file__).parents[2] / "examples" / "detection"


@pytest.mark.slow
def test_a_detector_loses_channels(tmp_path: Path) -> None:
    config = (EXAMPLE / "prune.yaml").read_text() + "data: {count: 256}\n"
    for old, new in (
        ("max_epochs: 30", "max_epochs: 10"),
        ("start_epoch: 5, end_epoch: 20", "start_epoch: 2, end_epoch: 4"),
    ):
        assert old in config
        config = config.replace(old, new)
    (tmp_path / "config.yaml").write_text(config)
    command = [sys.executable, str(EXAMPLE / "train.py"), "fit", "--config=config.yaml"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    report = json.loads((tmp_path / done.stdout.strip().splitlines()[-1]).read_text())
    assert report["compaction/macs_after"] < 0.27 * report["compaction/macs_before"]
    assert report["test/f1"] > 0.08
    assert list(tmp_path.rglob("compact.safetensors"))
