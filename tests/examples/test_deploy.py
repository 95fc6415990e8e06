"""The deployment table is made end to end from its command line."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from lightning_prune.formats import FORMATS

EXAMPLE = Path(__file__).parents[2] / "examples" / "deploy"


@pytest.mark.slow
def test_every_runtime_that_is_installed_has_a_row_as_accurate_as_the_network(
    tmp_path: Path,
) -> None:
    pytest.importorskip("onnxruntime")
    config = (EXAMPLE / "deploy.yaml").read_text()
    for old, new in (
        ("max_epochs: 20", "max_epochs: 6"),
        ("start_epoch: 2, end_epoch: 12", "start_epoch: 1, end_epoch: 3"),
    ):
        assert old in config
        config = config.replace(old, new)
    (tmp_path / "config.yaml").write_text(config)
    command = [sys.executable, str(EXAMPLE / "train.py"), "fit", "--config", "config.yaml"]
    command += ["--model.width=16"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    for one in FORMATS.values():
        for package in one.missing():
            assert f"is left out: {package} is not installed" in done.stdout
    rows = json.loads((tmp_path / done.stdout.strip().splitlines()[-1]).read_text())
    of = {(row["network"], row["runtime"]): row for row in rows}
    compact = {runtime: row for (network, runtime), row in of.items() if network == "compact"}
    assert len(compact) == 1 + sum(not one.missing() for one in FORMATS.values())
    for runtime, row in compact.items():
        allowed = 0.02 if "int8" in runtime else 0.0
        assert abs(row["accuracy"] - compact["torch"]["accuracy"]) <= allowed
    assert compact["torch"]["accuracy"] == of["masked", "torch"]["accuracy"] > 0.5
    assert compact["torch"]["size_bytes"] < 0.4 * of["dense", "torch"]["size_bytes"]
    assert of["masked", "ONNX Runtime"]["accuracy"] == of["masked", "torch"]["accuracy"]
