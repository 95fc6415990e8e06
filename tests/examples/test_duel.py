"""The duel runs end to end on a few images, says what is missing, and goes on where it was."""

import csv
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

SCRIPT = Path(__file__).parents[2] / "examples" / "benchmarks" / "duel.py"


def run(folder: Path, *arguments: str) -> list[dict[str, str]]:
    tiny = ["--data=few.npz", "--folder=out", "--epochs=1", "--seeds=0", "--speedups=2"]
    command = [sys.executable, str(SCRIPT), "--problems=resnet20", *tiny, *arguments]
    result = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr[-3000:]
    with (folder / "out" / "rows.csv").open(newline="") as file:
        return list(csv.DictReader(file))


@pytest.mark.slow
def test_rows_and_table_and_what_a_second_run_adds(tmp_path):
    random = np.random.default_rng(0)
    arrays = {}
    for part in ("train", "test"):
        arrays[f"{part}_x"] = random.integers(0, 256, (64, 32, 32, 3), dtype=np.uint8)
        arrays[f"{part}_y"] = random.integers(0, 10, 64)
    np.savez(tmp_path / "few.npz", **arrays)

    rows = run(tmp_path, "--methods", "Magnitude", "Torch-Pruning L1", "--stages", "cut", "5")
    found = [(row["method"], row["stage"], row["epochs"]) for row in rows]
    assert found[:2] == [("Magnitude", "cut", "0"), ("Magnitude", "5", "1")]
    assert abs(float(rows[0]["macs_ratio"]) - 2) < 0.1
    assert 0 <= float(rows[1]["score"]) <= 1
    if find_spec("torch_pruning") is None:
        assert {row["note"] for row in rows[2:]} == {
            "ModuleNotFoundError: No module named 'torch_pruning'"
        }

    dense = tmp_path / "out" / "resnet20-1-0.pt"
    before = dense.stat().st_mtime_ns
    more = run(tmp_path, "--methods", "Magnitude", "--stages", "cut", "norms", "--resume")
    assert dense.stat().st_mtime_ns == before
    assert more[:-1] == rows
    assert (more[-1]["stage"], more[-1]["sparsity"]) == ("norms", rows[0]["sparsity"])
    assert "| Magnitude |" in (tmp_path / "out" / "table.md").read_text()
