"""A cure with a number was measured; without a cure nothing is said."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from lightning_prune.compaction import cures
from lightning_prune.compaction.cures import find_cure
from lightning_prune.compaction.report import CompactionReport
from lightning_prune.measure import Latency
from lightning_prune.measure.latency import Turns
from lightning_prune.modules.inputs import ExampleInputs
from lightning_prune.units.group import GroupCount

X = ExampleInputs((torch.randn(2, 4),))
WIDTHS: list[int] = []


def net(width: int = 16, dead: int = 5) -> nn.Sequential:
    model = nn.Sequential(nn.Linear(4, width), nn.ReLU(), nn.Linear(width, 3))
    with torch.no_grad():
        model[0].weight[:dead] = 0
        model[0].bias[:dead] = 0
    return model


def report(removed: int = 5, macs_after: int = 20) -> CompactionReport:
    return CompactionReport(
        params_before=100,
        params_after=50,
        macs_before=100,
        macs_after=macs_after,
        bytes_before=400,
        bytes_after=200,
        max_abs_error=0.0,
        max_rel_error=0.0,
        groups=(GroupCount("0", 16, removed),),
    )


@pytest.fixture
def times(monkeypatch: pytest.MonkeyPatch) -> dict[Any, float]:
    """Milliseconds by the width of the first layer, or by the batch."""
    known: dict[Any, float] = {}

    def measure(models: Any, inputs: Any, *, batch_size: int = 2) -> Turns:
        widths = [model[0].out_features for model in models]
        times_ms = [known.get((width, batch_size), 1.0) for width in widths]
        latency = Latency(1, 1, 1, 1, "cpu", "float32", 1, 0.0)
        return Turns((latency,) * 2, np.tile(times_ms, (5, 1)))

    monkeypatch.setattr(cures, "measure_in_turns", measure)
    return known


def test_zeros_alone_do_not_speed_up() -> None:
    model = net(dead=0)
    with torch.no_grad():
        model[0].weight[:, ::2] = 0
        model[2].weight[:, ::2] = 0
    cure = find_cure(report(removed=0), model, model, X)
    assert cure.startswith("50% of the weights are zero, but dense kernels multiply by zeros")
    assert cure.endswith("prune channels")
    assert find_cure(report(removed=0), net(dead=0), net(dead=0), X) == ""


@pytest.mark.usefixtures("times")
def test_without_a_faster_form_nothing_is_promised() -> None:
    assert find_cure(report(), net(), net(11, 0), X) == ""


def test_a_multiple_that_measures_faster_is_named_with_its_figure(times: dict[Any, float]) -> None:
    times[(16, 2)], times[(11, 2)] = 2.0, 1.9
    model = nn.Sequential(*net(24, 13))  # 11 stay, or 16 in a multiple of 8
    times[(24, 2)], times[(16, 2)] = 2.0, 1.0
    cure = find_cure(report(), model, net(11, 0), X)
    assert cure == ("11 units in 0 are no multiple of 8: `round_to=8` measures 2.00 (2.00-2.00)")


def test_a_larger_batch_that_measures_faster_is_named_with_its_figure(
    times: dict[Any, float],
) -> None:
    times[(16, 32)], times[(11, 32)] = 3.0, 2.0
    cure = find_cure(report(), net(), net(11, 0), X)
    assert cure == ("calls cost more than arithmetic: a batch of 32 measures 1.50 (1.50-1.50)")


@pytest.mark.usefixtures("times")
def test_few_multiply_adds_fewer_are_said() -> None:
    cure = find_cure(report(macs_after=96), net(), net(11, 0), X)
    assert cure.startswith("the multiply-adds are only 4% fewer: prune more")
