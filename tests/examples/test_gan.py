"""The GAN example runs, and both networks come out smaller and verified."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLE = Path(__file__).parents[2] / "examples" / "gan" / "train.py"


@pytest.mark.slow
def test_both_networks_are_compacted_and_verified(tmp_path):
    command = [sys.executable, str(EXAMPLE), "--epochs=6", f"--folder={tmp_path}"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    report = json.loads((tmp_path / "report.json").read_text())
    assert report["sparsity"]["generator"] == pytest.approx(0.5, abs=0.03)
    assert report["sparsity"]["critic"] == pytest.approx(0.33, abs=0.03)
    for network, left in (("generator", 0.5), ("critic", 0.67)):
        counts = report[network]
        assert counts["after"] / counts["before"] == pytest.approx(left, abs=0.04)
    assert report["same_as_trained"]
    assert report["max_rel_error"] < 1e-4
    assert (tmp_path / "digits.png").stat().st_size > 0
