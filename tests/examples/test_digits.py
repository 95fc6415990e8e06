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


def run(
    kind: str,
    folder: Path,
    *replacements: tuple[str, str],
    epochs: tuple[str, str] | None = ("max_epochs: 20", "max_epochs: 4"),
) -> dict[str, float]:
    """Run a short, narrow version of the example and return its report."""
    config = (EXAMPLE / f"{kind}.yaml").read_text()
    for old, new in (*([epochs] if epochs else []), *replacements):
        assert old in config
        config = config.replace(old, new)
    (folder / "config.yaml").write_text(config)
    command = [sys.executable, str(EXAMPLE / "train.py"), "fit", "--config", "config.yaml"]
    command += ["--model.width=8", "--model.latency_batch_size=16"]
    result = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr[-3000:]
    path = folder / result.stdout.strip().splitlines()[-1]
    assert (path.parent / "report.html").read_text().count("<svg ") >= 6
    assert (path.parent / "compact.safetensors").exists()
    with (path.parent / "metrics.csv").open() as file:
        assert any(row.get("val/accuracy") for row in csv.DictReader(file))
    return json.loads(path.read_text())


@pytest.mark.slow
def test_channels_go_and_the_accuracy_stays_through_compaction(tmp_path):
    report = run(
        "channel", tmp_path, ("start_epoch: 2, end_epoch: 12", "start_epoch: 1, end_epoch: 3")
    )
    assert report.keys() >= COMPACTION | {"pruning/sparsity", "pruning/target", "versions"}
    assert report["pruning/sparsity"] == pytest.approx(0.75, abs=0.02)
    # All but the head's bias can go.
    assert report["compaction/params_after"] == pytest.approx(
        0.25 * report["compaction/params_before"], rel=0.08
    )
    assert report["test/accuracy_before_compaction"] == report["test/accuracy_after_compaction"]


@pytest.mark.slow
def test_the_guard_ends_within_the_allowed_drop(tmp_path):
    replacements = [
        ("max_epochs: 40", "max_epochs: 16"),
        ("start_epoch: 4, end_epoch: 24, every: 2", "start_epoch: 6, end_epoch: 10"),
        ("patience: 2", "patience: 1"),
    ]
    report = run("guard", tmp_path, *replacements, epochs=None)
    assert 0.1 < report["pruning/sparsity"] < 0.97
    assert report["test/accuracy_before_compaction"] == report["test/accuracy_after_compaction"]
    with next(tmp_path.glob("runs/digits-guard/*/metrics.csv")).open() as file:
        rows = [row for row in csv.DictReader(file) if row.get("val/accuracy")]
    values = [float(row["val/accuracy"]) for row in rows]
    assert max(values[:6]) - values[-1] <= 0.02 + 1e-6


@pytest.mark.slow
def test_what_single_weights_leave_dead_is_removed(tmp_path):
    report = run("weight", tmp_path, ("epoch: 10", "epoch: 2"))
    assert report["pruning/sparsity"] == pytest.approx(0.9, abs=0.001)
    assert report["sparsity/total"] > 0.85
    # In a net this narrow, nine tenths of the weights take whole channels with them.
    assert report["compaction/params_after"] < report["compaction/params_before"]
    assert report["test/accuracy_before_compaction"] == report["test/accuracy_after_compaction"]


@pytest.mark.slow
def test_the_teacher_is_no_part_of_the_student(tmp_path):
    command = [sys.executable, str(EXAMPLE / "distill.py"), "--epochs=2", "--recovery=1"]
    command += ["--width=8", "--sparsity=0.5"]
    result = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr[-3000:]
    lines = result.stdout.splitlines()
    assert [line.split(":")[0] for line in lines if ": 0." in line] == [
        "dense",
        "recovered from labels",
        "recovered from teacher",
    ]
    # Compaction reports the same parameters for both: a teacher would be counted.
    before = [line.split()[1:3] for line in lines if line.startswith("parameters")]
    assert len(before) == 2
    assert before[0] == before[1]
