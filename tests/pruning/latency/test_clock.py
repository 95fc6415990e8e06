"""A clock times models where they are to run."""

from __future__ import annotations

from types import SimpleNamespace
from typing import get_args

import numpy as np
import pytest
import torch
from torch import nn

from lightning_prune.measure.backend import Backend
from lightning_prune.measure.timed_model import cpu_threads
from lightning_prune.modules.inputs import ExampleInputs
from lightning_prune.pruning.latency import clock as clock_module
from lightning_prune.pruning.latency.clock import RuntimeClock, TorchClock, clock_of

X = ExampleInputs((torch.randn(3, 4),))


def test_times_are_those_of_each_model_in_turns() -> None:
    models = [nn.Linear(4, 2), nn.Linear(4, 5)]
    times_ms = TorchClock("eager")(models, X)
    assert times_ms.shape[1] == 2
    assert len(times_ms) >= 15
    assert (times_ms > 0).all()


@pytest.mark.slow
def test_a_runtime_times_what_was_exported(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("onnxruntime")
    clock = RuntimeClock("onnxruntime")
    models = [nn.Linear(4, 2), nn.Linear(4, 5)]
    assert (clock(models, X) > 0).all()

    exported: list[nn.Module] = []
    load = clock._load
    monkeypatch.setattr(clock, "_load", lambda m, x: (exported.append(m), load(m, x))[1])
    third = nn.Linear(4, 3)
    clock([models[0], third], X)
    assert exported == [third]  # the dense model is exported once
    files = list(clock._loaded.values())
    moved = clock.moved([models[0], third])
    assert (clock(moved, X) > 0).all()
    assert exported == [third]
    assert not set(files) & set(clock._loaded.values())


def test_moved_models_lie_elsewhere() -> None:
    models = [nn.Linear(4, 2), nn.Linear(4, 5)]
    moved = TorchClock("eager").moved(models)
    for model, other in zip(models, moved, strict=True):
        assert model.weight.data_ptr() != other.get_parameter("weight").data_ptr()
        assert torch.equal(model.weight, other.get_parameter("weight"))


@pytest.mark.parametrize("backend", get_args(Backend))
def test_every_backend_has_a_clock(backend: Backend) -> None:
    runtime = backend not in {"eager", "compile", "cuda_graph"}
    assert type(clock_of(backend)) is (RuntimeClock if runtime else TorchClock)


@pytest.mark.parametrize(("threads", "counts"), [(1, True), (2, False)])
def test_one_thread_is_timed_at_work(
    threads: int, counts: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[bool] = []

    def measure(*_: object, cpu_time: bool, **__: object) -> SimpleNamespace:
        seen.append(cpu_time)
        return SimpleNamespace(runs_ms=np.ones((3, 1)))

    monkeypatch.setattr(clock_module, "measure_in_turns", measure)
    with cpu_threads(threads):
        TorchClock("eager")([nn.Linear(4, 2)], X)
    assert seen == [counts]
