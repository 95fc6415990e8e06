"""What is said where there can be no CUDA graph; `test_cuda.py` records some."""

from __future__ import annotations

import logging
import re
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from lightning_prune.errors import CaptureError
from lightning_prune.measure import latency as latency_module
from lightning_prune.measure import measure_in_turns, measure_latency
from lightning_prune.measure.backend import timed_by
from lightning_prune.measure.cuda_graph import _reason
from lightning_prune.modules.inputs import ExampleInputs


def test_a_model_on_the_cpu_is_refused() -> None:
    message = (
        "Expected the model to be on one CUDA device for `backend='cuda_graph'`, but got one on "
        "cpu. Move it there, or choose 'eager'."
    )
    with pytest.raises(ValueError, match=re.escape(message)):
        measure_latency(nn.Linear(4, 2), torch.zeros(1, 4), backend="cuda_graph")


def test_all_models_are_measured_without_a_graph_where_one_has_none(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    models, made = [nn.Linear(4, 2), nn.Linear(4, 3)], []

    def stand_in(backend: Any, model: nn.Module, *args: Any, **options: Any) -> Any:
        made.append((backend, models.index(model)))
        if made == [("cuda_graph", 0), ("cuda_graph", 1)]:
            raise CaptureError("Expected a, but got b. Do c.")
        return timed_by("eager", model, *args, **options)

    monkeypatch.setattr(latency_module, "timed_by", stand_in)
    with caplog.at_level(logging.WARNING):
        turns = measure_in_turns(
            models, torch.zeros(1, 4), backend="cuda_graph", min_runs=1, max_seconds=0.01
        )
    assert made == [("cuda_graph", 0), ("cuda_graph", 1), ("eager", 0), ("eager", 1)]
    assert [latency.backend for latency in turns.latencies] == ["eager", "eager"]
    assert "without a CUDA graph. Expected a, but got b. Do c." in caplog.text


class Raises(nn.Module):
    """Fails with two lines."""

    def forward(self, x: Tensor) -> Tensor:
        raise RuntimeError("CUDA error: not while capturing.\nFor debugging …")


def test_the_reason_is_what_the_model_raised_first() -> None:
    inputs = ExampleInputs((torch.zeros(1),))

    def break_off() -> None:
        try:
            inputs(Raises())
        finally:
            raise RuntimeError("CUDA error: the capture was broken off")

    with pytest.raises(RuntimeError) as raised:
        break_off()
    assert _reason(raised.value) == "CUDA error: not while capturing"
    assert _reason(RuntimeError("out of memory\nmore")) == "out of memory"
