"""Sparse models take little room on disk, and come back bit for bit."""

import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "examples" / "benchmarks" / "stored_size.py"


@pytest.mark.slow
def test_nine_zeros_in_ten_take_less_than_their_entropy_and_raw_values():
    pytest.importorskip("zstandard")
    command = [sys.executable, str(SCRIPT), "--cases", "90%", "90%, heavy tails"]
    result = subprocess.run(command, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr[-3000:]
    rows = [line.split(" | ") for line in result.stdout.splitlines()[2:]]
    assert len(rows) == 2
    for _, _, small, zipped, bound in rows:
        assert float(small) <= 0.11
        assert float(small) < min(float(zipped), float(bound.rstrip(" |")))
