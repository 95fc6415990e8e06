"""Clocks that count instead of measuring: no test depends on how fast a machine is."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from torch import nn
from typing_extensions import override

from lightning_prune.measure import count_macs
from lightning_prune.modules.inputs import ExampleInputs


class CountingClock:
    """A machine on which a model takes as long as its multiply-adds say, and a fixed time.

    Args:
        fixed_ms: what every model takes.
        macs_per_ms: how many it does beside that.
        noise: relative standard deviation of a run.
    """

    def __init__(
        self, fixed_ms: float = 0.0, macs_per_ms: float = 1000.0, noise: float = 0.0
    ) -> None:
        self.fixed_ms, self.macs_per_ms, self.noise = fixed_ms, macs_per_ms, noise
        self.calls = 0
        self._random = np.random.default_rng(0)

    def ms(self, model: nn.Module, example: ExampleInputs) -> float:
        """Return what a model takes."""
        return self.fixed_ms + count_macs(model, example) / self.macs_per_ms

    def __call__(self, models: Sequence[nn.Module], example: ExampleInputs) -> NDArray[np.float64]:
        """Return the times of ten turns, shape ``[10, models]``."""
        self.calls += 1
        times = np.array([self.ms(model, example) for model in models])
        return times * self._random.normal(1, self.noise, (10, len(models)))

    def moved(self, models: Sequence[nn.Module]) -> Sequence[nn.Module]:
        """Return the same models: where they lie makes no difference."""
        return models


class SteppingClock(CountingClock):
    """A machine whose kernels take as long for 33 channels as for 40."""

    @override
    def ms(self, model: nn.Module, example: ExampleInputs) -> float:
        """Return what a model takes with its channels filled up to multiples of 8."""
        work, read = 0.0, 0
        for layer in model.modules():
            if isinstance(layer, nn.Linear):
                width = layer.weight.shape[0]
                work += -(-width // 8) * 8 * (-(-read // 8) * 8 or layer.weight.shape[1])
                read = width
        return self.fixed_ms + work / self.macs_per_ms
