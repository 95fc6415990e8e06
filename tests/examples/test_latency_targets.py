"""The table of speed-ups tells what was asked and measured; how fast is the machine's affair."""

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

from lightning_prune.measure import Speedup

SCRIPT = Path(__file__).parents[2] / "examples" / "benchmarks" / "latency_targets.py"


@pytest.mark.slow
def test_a_short_form_makes_a_row():
    command = [sys.executable, str(SCRIPT), "--models", "LSTM", "--backends", "eager"]
    result = subprocess.run(
        [*command, "--speedups", "1.5", "--repeats", "1", "--copies", "0"],
        capture_output=True,
        text=True,
    )
    assert result.returncode in {0, 1}, result.stderr[-3000:]
    (row,) = result.stdout.splitlines()[2:]
    model, runtime, asked, measured, obtained = row.strip("| ").split(" | ")
    assert (model, runtime, asked) == ("LSTM", "eager", "1.5")
    assert measured.startswith("refused") or float(measured.split()[0]) > 1
    assert obtained in {"1 of 1", "0 of 1", "0 of 0"}


@pytest.mark.parametrize(
    ("speedup", "obtained"),
    [
        (Speedup(2.08, 2.07, 2.09), True),
        (Speedup(2.3, 1.9, 2.7), True),
        (Speedup(2.3, 2.2, 2.4), False),
    ],
    ids=["within 5%", "in the interval", "neither"],
)
def test_what_counts_as_obtained(speedup, obtained):
    specification = importlib.util.spec_from_file_location("latency_targets", SCRIPT)
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    assert module.is_obtained(speedup, 2.0) == obtained
