"""The transfer example runs: a network of torchvision gets faster, and is exported."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLE = Path(__file__).parents[2] / "examples" / "transfer"


@pytest.mark.slow
def test_a_resnet_loses_milliseconds(tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    config = (EXAMPLE / "prune.yaml").read_text()
    for old, new in (
        ("max_epochs: 10", "max_epochs: 2\n  limit_train_batches: 6"),
        ("epochs: {2: 0.5, 5: 1.0}", "epochs: {1: 1.0}"),
    ):
        assert old in config
        config = config.replace(old, new)
    (tmp_path / "config.yaml").write_text(config)
    command = [sys.executable, str(EXAMPLE / "train.py"), "fit", "--config=config.yaml"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    report = json.loads((tmp_path / done.stdout.strip().splitlines()[-1]).read_text())
    assert report["compaction/macs_after"] < 0.9 * report["compaction/macs_before"]
    assert list(tmp_path.rglob("transfer*.onnx"))
    assert list(tmp_path.rglob("compact.safetensors"))
