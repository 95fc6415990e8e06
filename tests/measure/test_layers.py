"""Each layer takes what passes between entering and leaving it, less what is inside."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from torch import Tensor, nn

from lightning_prune.measure import layers
from lightning_prune.measure.layers import layer_times

NOW = SimpleNamespace(s=0.0)


class Takes(nn.Module):
    """Takes so many milliseconds, and runs another module within."""

    def __init__(self, ms: float, inner: nn.Module | None = None) -> None:
        super().__init__()
        self.ms, self.inner = ms, inner
        self.weight = nn.Parameter(torch.zeros(1))

    def forward(self, x: Tensor) -> Tensor:
        NOW.s += self.ms / 1e3
        return x if self.inner is None else self.inner(x)


@pytest.fixture(autouse=True)
def _clock(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(layers, "time", SimpleNamespace(perf_counter=lambda: NOW.s))


def test_what_is_inside_counts_for_itself() -> None:
    model = nn.Sequential(Takes(2), Takes(3, inner=nn.Sequential(nn.ReLU(), Takes(4))))
    times = layer_times(model, torch.zeros(1))
    assert times == pytest.approx({"0": 2.0, "1": 3.0, "1.inner.1": 4.0})


def test_a_layer_that_runs_twice_takes_both() -> None:
    shared = Takes(2)
    assert layer_times(nn.Sequential(shared, shared), torch.zeros(1)) == pytest.approx({"0": 4.0})


def test_the_model_keeps_no_hooks() -> None:
    model = nn.Sequential(nn.Linear(2, 2))
    layer_times(model, torch.zeros(1, 2))
    assert not model[0]._forward_hooks
