"""The benchmark of updates prunes what it says, each way the same."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "examples" / "benchmarks" / "updates.py"


@pytest.mark.slow
def test_every_way_reaches_the_sparsity() -> None:
    command = [sys.executable, str(SCRIPT), "--weights", "1e5", "--repeats", "1"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    rows = [line for line in done.stdout.splitlines() if "0.9000" in line]
    assert [row.split()[2] for row in rows] == ["lightning_prune", "torch.kthvalue", "sort"]
