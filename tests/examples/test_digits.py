"""The example runs end to end from its command line."""

import csv
import json
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLE = Path(__file__).parents[2] / "examples" / "digits"
COMPACTION = {
    f"compaction/{key}"
    for key in (
        "params_before params_after macs_before macs_after bytes_before bytes_after "
        "latency_before_p50_ms latency_after_p50_ms latency_before_p95_ms latency_after_p95_ms "
        "speedup max_abs_error"
    ).split()
}


def run(kind: str, folder: Path, *options: str) -> dict[str, float]:
    """Run a short, narrow version of the example and return its report."""
    command = [sys.executable, EXAMPLE / "train.py", "fit", "--config", EXAMPLE / f"{kind}.yaml"]
    command += ["--trainer.max_epochs=4", "--model.width=8", "--model.latency_batch_size=16"]
    result = subprocess.run(
        [*map(str, command), *options], cwd=folder, capture_output=True, text=True
    )
    assert result.returncode == 0, result.stderr[-3000:]
    path = folder / result.stdout.strip().splitlines()[-1]
    assert (path.parent / "plot.png").stat().st_size > 10_000
    assert (path.parent / "compact.safetensors").exists()
    with (path.parent / "metrics.csv").open() as file:
        assert any(row.get("val/accuracy") for row in csv.DictReader(file))
    return json.loads(path.read_text())


@pytest.mark.slow
def test_channels_go_and_the_accuracy_stays_through_compaction(tmp_path):
    schedule = "--trainer.callbacks.schedule={class_path: Cubic, init_args: {start_epoch: 1, "
    report = run("channel", tmp_path, f"{schedule}end_epoch: 3}}}}")
    assert report.keys() >= COMPACTION | {"pruning/sparsity", "pruning/target", "versions"}
    assert report["pruning/sparsity"] == pytest.approx(0.75, abs=0.02)
    # All but the head's bias can go.
    assert report["compaction/params_after"] == pytest.approx(
        0.25 * report["compaction/params_before"], rel=0.08
    )
    assert report["test/accuracy_before_compaction"] == report["test/accuracy_after_compaction"]


@pytest.mark.slow
def test_single_weights_leave_the_model_as_large_as_it_was(tmp_path):
    schedule = "--trainer.callbacks.schedule={class_path: OneShot, init_args: {epoch: 2}}"
    report = run("weight", tmp_path, schedule)
    assert report["pruning/sparsity"] == pytest.approx(0.9, abs=0.001)
    assert report["sparsity/total"] > 0.85
    assert report["compaction/params_after"] > 0.9 * report["compaction/params_before"]
