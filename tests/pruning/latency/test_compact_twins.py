"""Compact twins are measured as often as their distance from the target needs."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from lightning_prune.granularities import Channel
from lightning_prune.modules.inputs import ExampleInputs
from lightning_prune.modules.twin import clone
from lightning_prune.pruning.latency.compact_twins import CompactTwins
from lightning_prune.pruning.masks import Masks
from lightning_prune.pruning.prunable import find_prunable
from lightning_prune.pruning.recipe import Recipe

X = ExampleInputs((torch.randn(2, 6),))


class Scripted:
    """A clock that tells the speed-up of its script, and remembers the models that it saw."""

    def __init__(self, *speedups: float) -> None:
        self._speedups = list(speedups)
        self.seen: list[Sequence[nn.Module]] = []

    def __call__(self, models: Sequence[nn.Module], example: ExampleInputs) -> NDArray[np.float64]:
        self.seen.append(models)
        ratio = self._speedups[min(len(self.seen), len(self._speedups)) - 1]
        return np.full((31, 2), [6.0, 6.0 / ratio])

    def moved(self, models: Sequence[nn.Module]) -> Sequence[nn.Module]:
        return [clone(model) for model in models]


def twins(clock: Scripted) -> tuple[CompactTwins, nn.Module, list[Tensor]]:
    model = nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 2))
    prunable = find_prunable(Recipe(0.5, granularity=Channel()), model, X)
    masks = Masks(model, tuple(prunable.groups))
    kept = [torch.arange(group.units) < 3 for group in masks.groups]
    return CompactTwins(model, masks, X, clock, allow_unused=False), model, kept


def test_far_from_what_is_asked_one_measurement_is_enough() -> None:
    clock = Scripted(2.0)
    made, model, kept = twins(clock)
    assert made.measured(kept, asked=3.0).speedup.ratio == pytest.approx(2.0)
    ((dense, small),) = clock.seen
    assert dense is model
    assert [p.shape[0] for p in small.parameters()] == [3, 3, 2, 2]
    assert [p.shape[0] for p in model.parameters()] == [8, 8, 2, 2]


def test_near_it_copies_are_measured_in_other_places() -> None:
    clock = Scripted(2.0)
    made, _, kept = twins(clock)
    measured = made.measured(kept, asked=2.0)
    assert (measured.speedup.ratio, measured.dense_ms) == (pytest.approx(2.0), 6.0)
    assert len(clock.seen) == 3
    pointers = {next(models[1].parameters()).data_ptr() for models in clock.seen}
    assert len(pointers) == 3


def test_noise_is_measured_again_and_not_for_ever() -> None:
    clock = Scripted(*[2.0, 1.9, 2.1] * 4)
    made, _, kept = twins(clock)
    made.measured(kept, asked=2.0)
    assert len(clock.seen) == 9
