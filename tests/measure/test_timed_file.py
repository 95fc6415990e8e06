"""A model is timed in the runtime that it is exported to."""

from __future__ import annotations

import os
import time

import pytest
import torch
from torch import Tensor, nn

from lightning_prune.measure import measure_in_turns, measure_latency
from lightning_prune.measure.timed_file import TimedFile

pytest.importorskip("onnxruntime")


def test_the_runtime_runs_what_the_model_computes() -> None:
    model, x = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Dropout(0.5)), torch.randn(3, 4)
    timed = TimedFile(model, x)
    (output,) = timed._run(timed._named)
    assert torch.allclose(output, model.eval()(x), atol=1e-6)
    assert timed.peak_bytes() is None


def test_neither_the_model_nor_its_random_state_changes() -> None:
    model, x = nn.Sequential(nn.Linear(4, 8), nn.Dropout(0.5)), torch.randn(3, 4)
    before, state = torch.get_rng_state(), {k: v.clone() for k, v in model.state_dict().items()}
    TimedFile(model, x).run_ms()
    assert model.training
    assert torch.equal(torch.get_rng_state(), before)
    assert all(torch.equal(state[name], value) for name, value in model.state_dict().items())


def test_the_same_file_is_loaded_again_and_goes_with_the_last_that_reads_it() -> None:
    timed = TimedFile(nn.Linear(4, 2), torch.randn(3, 4))
    path, again = timed._path, timed.again()
    assert again._run is not timed._run
    assert torch.equal(again._run(again._named)[0], timed._run(timed._named)[0])
    del timed
    assert path.exists()
    del again
    assert not path.exists()


def test_times_are_those_of_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    timed = TimedFile(nn.Linear(4, 2), torch.randn(3, 4))

    def run(named: dict[str, Tensor]) -> list[Tensor]:
        time.sleep(0.02)
        return []

    monkeypatch.setattr(timed, "_run", run)
    assert timed.run_ms() >= 20
    at_work = TimedFile(nn.Linear(4, 2), torch.randn(3, 4), cpu_time=True)
    monkeypatch.setattr(at_work, "_run", run)
    assert at_work.run_ms() < 20


def test_a_larger_model_takes_longer_and_the_measurement_says_where() -> None:
    x = torch.randn(64, 256)
    small, large = nn.Linear(256, 8), nn.Sequential(*[nn.Linear(256, 256) for _ in range(20)])
    turns = measure_in_turns([small, large], x, backend="onnxruntime", max_seconds=0.5)
    one, other = turns.latencies
    assert one.p50_ms < other.p50_ms
    assert one.backend == "onnxruntime"
    assert (one.device, one.dtype, one.batch_size) == ("cpu", "float32", 64)
    assert one.threads == torch.get_num_threads()


@pytest.mark.skipif((os.cpu_count() or 1) < 2, reason="needs two cores")
def test_threads_are_those_of_the_runtime() -> None:
    latency = measure_latency(
        nn.Linear(256, 256), torch.randn(64, 256), backend="onnxruntime", threads=2, max_seconds=0.2
    )
    assert latency.threads == 2
