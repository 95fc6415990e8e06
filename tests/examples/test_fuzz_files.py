"""Damaged and malicious files are refused, or do no harm."""

import re
import subprocess
import sys
from pathlib import Path

SCRIPT = Path(__file__).parents[2] / "examples" / "benchmarks" / "fuzz_files.py"


def test_two_hundred_files_do_no_harm():
    command = [sys.executable, str(SCRIPT), "--cases=200"]
    result = subprocess.run(command, capture_output=True, text=True)
    assert result.returncode == 0, result.stdout + result.stderr[-3000:]
    counts = [int(n) for n in re.findall(r"\d+", result.stdout.splitlines()[-1])]
    assert (counts[0], counts[-1]) == (200, 0)
    assert counts[1] > 150


def test_one_case_says_what_became_of_it():
    command = [sys.executable, str(SCRIPT), "--first=3", "--cases=1"]
    result = subprocess.run(command, capture_output=True, text=True)
    assert "refused: --first 3 --cases 1: plan, " in result.stdout
