"""Layers: how many milliseconds of a forward pass each module with parameters takes by itself."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import torch
from torch import nn

from lightning_prune.measure.allocator import memory_kept
from lightning_prune.measure.timed_model import TimedModel

_RUNS = 7


def layer_times(model: nn.Module, example_inputs: Any) -> dict[str, float]:
    """Measure the modules of a model that hold parameters of their own.

    What modules inside of one take is not counted with it. A module that no hook sees, as inside
    of a fused kernel, takes 0.

    Args:
        model: any module; it stays as it is.
        example_inputs: a tensor, a tuple of positional or a dict of keyword arguments.

    Returns:
        The median over seven runs in ms, by the name of the module.

    Raises:
        ExampleInputsError: if the model does not run on the inputs.
    """
    timed = TimedModel(model, example_inputs)
    owners = [(n, m) for n, m in timed.model.named_modules() if [*m.parameters(recurse=False)]]
    stopwatch = _Stopwatch(timed)
    for name, module in owners:
        module.register_forward_pre_hook(lambda *_, name=name: stopwatch.enter(name))
        module.register_forward_hook(lambda *_: stopwatch.leave(), always_call=True)
    runs: list[dict[str, float]] = []
    with torch.no_grad(), memory_kept():
        for _ in range(_RUNS):
            stopwatch.times_ms = {name: 0.0 for name, _ in owners}
            timed.run_ms()
            runs.append(stopwatch.times_ms)
    return {name: float(np.median([run[name] for run in runs])) for name, _ in owners}


class _Stopwatch:
    """Adds up the time between entering and leaving, less that of what is entered within."""

    def __init__(self, timed: TimedModel) -> None:
        self.times_ms: dict[str, float] = {}
        self._timed = timed
        self._inside: list[str] = []
        self._since_s = 0.0

    def enter(self, name: str) -> None:
        self._note()
        self._inside.append(name)

    def leave(self) -> None:
        self._note()
        self._inside.pop()

    def _note(self) -> None:
        self._timed.synchronize()
        now_s = time.perf_counter()
        if self._inside:
            self.times_ms[self._inside[-1]] += 1e3 * (now_s - self._since_s)
        self._since_s = now_s
