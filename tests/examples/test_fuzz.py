"""Compact nets compute what masked ones do, on inputs that compaction never saw."""

import importlib
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import lightning_prune as lp

SCRIPT = Path(__file__).parents[2] / "examples" / "benchmarks" / "fuzz.py"


def fuzz(*arguments):
    command = [sys.executable, str(SCRIPT), *arguments]
    return subprocess.run(command, capture_output=True, text=True)


@pytest.mark.slow
def test_none_of_seventy_nets_is_wrong():
    result = fuzz("--cases=70")
    assert result.returncode == 0, result.stdout + result.stderr[-3000:]
    cases, removed, *_, wrong = map(int, re.findall(r"\d+", result.stdout.splitlines()[-1]))
    assert (cases, wrong) == (70, 0)
    assert removed > 35


@pytest.mark.parametrize("number", range(19))  # one net of each kind
def test_a_weight_that_differs_slightly_is_found(number, monkeypatch):
    monkeypatch.syspath_prepend(SCRIPT.parent)
    case = importlib.import_module("fuzzing.case")
    compact = lp.compact

    def careless(model, *args, **options):
        report = compact(model, *args, **options)
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.mul_(1.01)
        return report

    monkeypatch.setattr(lp, "compact", careless)
    outcome = case.run(number)
    assert outcome.kind == list(case.KINDS)[number]
    assert outcome.result == "wrong"
    assert outcome.error > 1e-5
