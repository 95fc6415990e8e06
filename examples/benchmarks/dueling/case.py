"""One dense network that is to lose a share of its MACs, and the search for that share."""

from __future__ import annotations

import math
from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass
from functools import cached_property

import torch
import torch.nn.functional as F
from torch import Tensor, nn

import lightning_prune as lp
from dueling.problem import Problem, Splits

_TOLERANCE = 0.01
_TRIES = 8


@dataclass(frozen=True)
class Case:
    """A dense network and the MACs that it is to lose.

    Args:
        problem: what it has learned.
        dense: the network, which stays as it is.
        data: what it has learned from.
        speedup: the MACs of the dense network over those that are to be left.
        seed: of whatever is drawn.
        calibration: how many training examples a method may look at before it cuts.
    """

    problem: Problem
    dense: nn.Module
    data: Splits
    speedup: float
    seed: int
    calibration: int = 512

    @property
    def network(self) -> nn.Module:
        """A copy of the dense network."""
        return deepcopy(self.dense)

    @cached_property
    def example(self) -> Tensor:
        """One input of the network."""
        return self.problem.prepare(self.data.test.inputs[:1])

    @cached_property
    def batches(self) -> list[tuple[Tensor, Tensor]]:
        """The examples to look at, in batches of 128, and their classes."""
        generator = torch.Generator().manual_seed(self.seed)
        part = self.data.train
        chosen = torch.randperm(len(part.classes), generator=generator)[: self.calibration]
        return [
            (self.problem.prepare(part.inputs[rows]), part.classes[rows])
            for rows in chosen.split(128)
        ]

    def loss(self, network: nn.Module, batch: tuple[Tensor, Tensor]) -> Tensor:
        """Return the loss of one of the batches."""
        return F.cross_entropy(network(batch[0]), batch[1])

    def macs_ratio(self, network: nn.Module) -> float:
        """Return how many times the MACs of the network the dense one has."""
        return lp.count_macs(self.dense, self.example) / lp.count_macs(network, self.example)


def search(case: Case, cut: Callable[[Case, float], nn.Module]) -> float:
    """Return the sparsity at which the MACs ratio is the one asked for.

    By interpolation of the ratio's logarithm until it is within one percent; else the sparsity
    whose ratio came nearest.

    Args:
        case: what to cut, and how much.
        cut: returns a smaller copy at a sparsity; more sparsity must not mean more MACs.
    """
    goal = math.log(case.speedup)
    low, high = (0.0, 0.0), (1.0, 2 * goal)
    tried: dict[float, float] = {}
    while len(tried) < _TRIES:
        sparsity = low[0] + (high[0] - low[0]) * (goal - low[1]) / (high[1] - low[1])
        # Ends of the interval that stay would slow the interpolation down: halve now and then.
        if len(tried) % 3 == 2:
            sparsity = (low[0] + high[0]) / 2
        reached = math.log(case.macs_ratio(cut(case, sparsity)))
        tried[sparsity] = abs(reached - goal)
        if tried[sparsity] < _TOLERANCE:
            break
        if reached < goal:
            low = (sparsity, reached)
        else:
            high = (sparsity, reached)
    return min(tried, key=tried.__getitem__)
