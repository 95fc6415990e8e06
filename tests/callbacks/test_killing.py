"""Killed by SIGKILL at a random moment and resumed, a run ends as the one that was left alone."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[1] / "support" / "killing.py"


@pytest.mark.slow
def test_ten_kills(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, str(SCRIPT), str(tmp_path), "10"],
        capture_output=True,
        text=True,
        timeout=900,
        check=False,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert done.returncode == 0, done.stderr[-3000:]
    result = json.loads(done.stdout.splitlines()[-1])
    whole = result["whole"]
    # 3 of 8 channels, and 80% of the 72 + 2880 single weights.
    assert whole["sparsity"] == pytest.approx([0.375, 0.8], abs=0.001)
    assert len(result["runs"]) == 10
    for run in result["runs"]:
        assert {key: run[key] for key in whole} == whole
    # The moments were spread: some before the first checkpoint or after it, in many epochs.
    assert len({run["resumed from"] for run in result["runs"]}) >= 3
