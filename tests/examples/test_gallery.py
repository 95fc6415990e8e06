"""The gallery runs, and its models come out smaller and exact."""

import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "examples" / "benchmarks" / "gallery.py"


@pytest.mark.slow
def test_a_row_tells_what_became_of_a_model(tmp_path: Path) -> None:
    pytest.importorskip("transformers")
    command = [sys.executable, str(SCRIPT), "--filter=transformers:[GM]*", "--output=table"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    rows = (tmp_path / "table.md").read_text().splitlines()[2:]
    cells = [[cell.strip() for cell in row.split("|")[1:-1]] for row in rows]
    assert {row[0] for row in cells} >= {"transformers:GPT-2", "transformers:Mixtral"}
    for name, prunable, _, left, error, kept_back, _, why in cells:
        assert float(prunable.rstrip("%")) > 95, name
        assert float(left.rstrip("%")) < 60, name
        assert float(error) < 1e-5, name
        assert (kept_back, why) == ("0", ""), name
