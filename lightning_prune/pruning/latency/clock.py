"""Clocks: what measures models in turns for a target of latency.

Where one thread of the CPU does all the work, the time that it is at work is measured: a search
would mistake what other processes take in between for the models'.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Literal, Protocol, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from typing_extensions import override

from lightning_prune.arguments import check_choice
from lightning_prune.export import FORMATS, find_formats
from lightning_prune.export.program import Exportable
from lightning_prune.measure import measure_in_turns
from lightning_prune.measure.timed_model import cpu_time_counts
from lightning_prune.measure.turns import take_turns
from lightning_prune.modules.inputs import ExampleInputs

Backend = Literal["eager", "compile", "onnxruntime", "openvino", "executorch"]
"""What runs the model: torch, what `torch.compile` makes of it, or another runtime on the CPU."""

_FORMATS = {"onnxruntime": "onnx", "openvino": "openvino", "executorch": "executorch"}


class Clock(Protocol):
    """Measures models in turns."""

    def __call__(self, models: Sequence[nn.Module], example: ExampleInputs) -> NDArray[np.float64]:
        """Return times in ms, shape ``[turns, models]``."""


def check_backend(backend: object) -> None:
    """Refuse what is no backend, or one that is not installed.

    Raises:
        ValueError: if it is none.
        ModuleNotFoundError: if it is not installed.
    """
    check_choice("backend", backend, get_args(Backend), "It says what runs the model.")
    if backend in _FORMATS:
        find_formats([_FORMATS[str(backend)]])


def clock_of(backend: Backend) -> Clock:
    """Return the clock of a backend."""
    if backend in _FORMATS:
        return RuntimeClock(_FORMATS[backend])
    return TorchClock("compile" if backend == "compile" else "eager")


class TorchClock(Clock):
    """Measures in torch.

    Args:
        backend: ``"eager"`` or ``"compile"``.
    """

    def __init__(self, backend: Literal["eager", "compile"]) -> None:
        self._backend = backend

    @override
    def __call__(self, models: Sequence[nn.Module], example: ExampleInputs) -> NDArray[np.float64]:
        """Return times in ms, shape ``[turns, models]``."""
        turns = measure_in_turns(
            models,
            example,
            backend=self._backend,
            min_runs=15,
            max_seconds=1.0,
            cpu_time=cpu_time_counts(),
        )
        return turns.runs_ms


class RuntimeClock(Clock):
    """Measures in another runtime, to which models are exported; the last two are kept.

    Args:
        name: of a format.
    """

    def __init__(self, name: str) -> None:
        self._format = FORMATS[name]
        self._loaded: dict[nn.Module, Callable[[], object]] = {}

    @override
    def __call__(self, models: Sequence[nn.Module], example: ExampleInputs) -> NDArray[np.float64]:
        """Return times in ms, shape ``[turns, models]``."""
        self._loaded = {
            model: self._loaded.get(model) or self._load(model, example) for model in models
        }
        one_thread = self._format is FORMATS["onnx"] and cpu_time_counts()
        now_ns = time.thread_time_ns if one_thread else time.perf_counter_ns
        runs = [_timed(run, now_ns) for run in self._loaded.values()]
        return take_turns(runs, warmup_runs=5, min_runs=15, max_seconds=1.0)

    def _load(self, model: nn.Module, example: ExampleInputs) -> Callable[[], object]:
        with (
            TemporaryDirectory() as folder,
            warnings.catch_warnings(),
            torch.inference_mode(False),
            torch.no_grad(),
        ):
            warnings.simplefilter("ignore")  # of exporters about themselves
            exportable = Exportable.of(model, example)
            path = Path(folder) / f"model{self._format.suffix}"
            self._format.write(exportable, path)
            run = self._format.load(path)
            named: Mapping[str, Tensor] = exportable.named(exportable.inputs)
            run(named)  # some runtimes read the file only now
        return lambda: run(named)


def _timed(run: Callable[[], object], now_ns: Callable[[], int]) -> Callable[[], float]:
    def run_ms() -> float:
        started_ns = now_ns()
        run()
        return (now_ns() - started_ns) / 1e6

    return run_ms
