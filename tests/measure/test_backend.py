"""A backend is checked before it runs anything, and every one that is installed can be timed."""

from __future__ import annotations

import re
from typing import get_args

import pytest
import torch
from torch import nn

import lightning_prune as lp
from lightning_prune.formats import FORMATS
from lightning_prune.measure.backend import Backend, check_backend, timed_by
from lightning_prune.measure.timed_file import RUNTIMES, TimedFile
from lightning_prune.measure.timed_model import TimedModel


def test_what_is_no_backend_is_refused() -> None:
    with pytest.raises(ValueError, match="Expected `backend` to be 'eager', 'compile'"):
        check_backend("tensorrt")
    with pytest.raises(ValueError, match="Expected `backend` to be 'eager', 'compile'"):
        lp.Pruning(0.5, of="latency", backend="tensorrt")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="Expected `backends` to be 'eager', 'compile'"):
        lp.Report(backends=["tensorrt"])  # type: ignore[list-item]


def test_one_that_is_not_installed_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(FORMATS["onnx"], "packages", ("no_such_package",), False)
    model, x = nn.Linear(4, 2), torch.randn(3, 4)
    for call in (
        lambda: lp.Pruning(0.5, of="latency", backend="onnxruntime"),
        lambda: lp.LatencyMonitor(backend="onnxruntime"),
        lambda: lp.measure_latency(model, x, backend="onnxruntime"),
    ):
        with pytest.raises(ModuleNotFoundError, match=re.escape("export-onnx")):
            call()


@pytest.mark.parametrize("backend", get_args(Backend))
def test_a_runtime_reads_a_file_and_torch_calls_a_model(backend: Backend) -> None:
    if backend in RUNTIMES and FORMATS[RUNTIMES[backend]].missing():
        pytest.skip("not installed")
    if backend == "cuda_graph":
        pytest.skip("takes a GPU")
    timed = timed_by(backend, nn.Linear(4, 2), torch.randn(3, 4), batch_size=5)
    assert type(timed) is (TimedFile if backend in RUNTIMES else TimedModel)
    assert timed.inputs.batch_size == 5
    assert timed.run_ms() > 0
