"""Clocks: what measures models in turns for a target of latency.

Where one thread of the CPU does all the work, the time that it is at work is measured: a search
would mistake what other processes take in between for the models'.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from torch import nn
from typing_extensions import override

from lightning_prune.measure import measure_in_turns
from lightning_prune.measure.backend import Backend
from lightning_prune.measure.timed_file import RUNTIMES, TimedFile
from lightning_prune.measure.timed_model import cpu_time_counts
from lightning_prune.measure.turns import take_turns
from lightning_prune.modules.inputs import ExampleInputs
from lightning_prune.modules.twin import clone


class Clock(Protocol):
    """Measures models in turns."""

    def __call__(self, models: Sequence[nn.Module], example: ExampleInputs) -> NDArray[np.float64]:
        """Return times in ms, shape ``[turns, models]``."""

    def moved(self, models: Sequence[nn.Module]) -> Sequence[nn.Module]:
        """Return the models that were measured last in other places of the memory.

        Where weights lie makes a small model faster or slower.
        """


def clock_of(backend: Backend) -> Clock:
    """Return the clock of a backend."""
    return RuntimeClock(backend) if backend in RUNTIMES else TorchClock(backend)


class TorchClock(Clock):
    """Measures in torch.

    Args:
        backend: ``"eager"``, ``"compile"`` or ``"cuda_graph"``.
    """

    def __init__(self, backend: Backend) -> None:
        self._backend: Backend = backend

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

    @override
    def moved(self, models: Sequence[nn.Module]) -> Sequence[nn.Module]:
        """Return copies."""
        return [clone(model) for model in models]


class RuntimeClock(Clock):
    """Measures in another runtime, to which models are exported; the last two are kept.

    Args:
        backend: one of those runtimes.
    """

    def __init__(self, backend: Backend) -> None:
        self._backend: Backend = backend
        self._loaded: dict[nn.Module, TimedFile] = {}

    @override
    def __call__(self, models: Sequence[nn.Module], example: ExampleInputs) -> NDArray[np.float64]:
        """Return times in ms, shape ``[turns, models]``."""
        self._loaded = {
            model: self._loaded.get(model) or self._load(model, example) for model in models
        }
        runs = [one.run_ms for one in self._loaded.values()]
        return take_turns(runs, warmup_runs=5, min_runs=15, max_seconds=1.0)

    @override
    def moved(self, models: Sequence[nn.Module]) -> Sequence[nn.Module]:
        """Return the same models, whose files were loaded once more."""
        self._loaded = {model: self._loaded[model].again() for model in models}
        return models

    def _load(self, model: nn.Module, example: ExampleInputs) -> TimedFile:
        return TimedFile(model, example, None, self._backend, cpu_time=cpu_time_counts())
