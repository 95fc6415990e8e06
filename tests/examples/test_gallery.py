"""The gallery runs, and its models come out smaller and exact."""

import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "examples" / "benchmarks" / "gallery.py"
OWN = "CIFAR ResNet,StyleGAN 2,WaveRNN,FastSpeech,PointNet,graph network,YOLO"


def table(folder: Path, pattern: str) -> dict[str, dict[str, str]]:
    """Run the gallery and return its rows by model, of cells by column."""
    command = [sys.executable, str(SCRIPT), f"--filter={pattern}", "--output=table"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    lines = (folder / "table.md").read_text().splitlines()
    columns, _, *rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in lines]
    return {row[0]: dict(zip(columns, row, strict=True)) for row in rows}


def assert_whole(rows: dict[str, dict[str, str]]) -> None:
    for name, row in rows.items():
        assert float(row["prunable"].rstrip("%")) > 95, name
        assert float(row["channel"].rstrip("%")) > 45, name
        assert float(row["error"]) < 1e-5, name
        assert (row["kept back"], row["why"]) == ("0", ""), name


@pytest.mark.slow
def test_nets_of_our_own_shrink_whole(tmp_path: Path) -> None:
    rows = table(tmp_path, "own:*")
    assert set(rows) == {f"own:{name}" for name in OWN.split(",")}
    assert_whole(rows)
    heads = {name for name, row in rows.items() if row["head"] != "none"}
    assert heads == {"own:FastSpeech"}


@pytest.mark.slow
def test_transformers_shrink_whole_by_each_granularity(tmp_path: Path) -> None:
    pytest.importorskip("transformers")
    rows = table(tmp_path, "transformers:[BT]*")
    assert set(rows) >= {"transformers:BERT", "transformers:T5", "transformers:BEiT"}
    assert_whole(rows)
    for name in ("BERT", "T5", "BEiT"):
        row = rows[f"transformers:{name}"]
        assert float(row["head"].rstrip("%")) > 10
        assert float(row["layer"].rstrip("%")) > 20
