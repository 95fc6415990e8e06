"""The accuracy benchmark runs end to end on a tiny subset, and goes on where it was."""

import csv
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "examples" / "benchmarks" / "accuracy.py"


def run(folder: Path, *arguments: str) -> str:
    tiny = ["--seeds=1", "--width=4", "--epochs=1", "--recovery=1", "--sparsities", "0.5"]
    command = [sys.executable, str(SCRIPT), "--output=out/accuracy", *tiny, *arguments]
    result = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr[-3000:]
    return result.stdout


@pytest.mark.slow
def test_table_plot_and_controls(tmp_path):
    printed = run(tmp_path, "--criteria", "Magnitude", "Random")
    assert printed.count("| Magnitude |") == printed.count("| Random |") == 2
    assert printed.count("| dense, trained longer |") == 2
    assert (tmp_path / "out" / "accuracy.png").stat().st_size > 5_000
    assert (tmp_path / "out" / "accuracy.md").read_text() == printed
    rows = list(csv.DictReader((tmp_path / "out" / "accuracy.csv").read_text().splitlines()))
    assert len(rows) == 2 * (2 + 1)
    for row in rows:
        assert 0.0 <= float(row["accuracy"]) <= 1.0
        assert abs(float(row["reached"]) - float(row["sparsity"])) < 0.1
    dense = tmp_path / "out" / "dense-4-1-0.pt"
    before = dense.stat().st_mtime_ns
    ways = ["--ways", "plain", "both"]
    printed = run(tmp_path, "--criteria", "Magnitude", "Taylor", "--resume", *ways)
    assert dense.stat().st_mtime_ns == before
    assert printed.count("| Taylor |") == printed.count("| Random |") == 2
    assert printed.count("| Taylor, gradual + LeastSquares |") == 1
