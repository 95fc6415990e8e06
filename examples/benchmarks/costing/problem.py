"""A problem: a trained network with scores, prices and curves, and the ways to choose its units."""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial

import numpy as np
import torch
from torch import Tensor, nn

import lightning_prune as lp
from costing.choices import Choice, Widths, by_lagrangian, by_milp
from costing.curves import Curve, measured_curves
from costing.nets import Trained, loss_of
from lightning_prune.compaction.compact_twin import compact_twin
from lightning_prune.coupling import couple
from lightning_prune.modules.inputs import ExampleInputs
from lightning_prune.pruning import Recipe, find_prunable
from lightning_prune.pruning.choosing.chooser import Chooser
from lightning_prune.pruning.choosing.ranking import floors
from lightning_prune.pruning.compensating.norms import norms_with_statistics, renew_norms
from lightning_prune.pruning.latency.clock import clock_of
from lightning_prune.pruning.latency.compact_twins import CompactTwins
from lightning_prune.pruning.latency.prices import millisecond_prices
from lightning_prune.pruning.masks import Masks
from lightning_prune.pruning.scorers import Scorers
from lightning_prune.units.cost import cost_of

ROUND_TO = 8
_BATCHES = 8

KeepAt = Callable[[float], list[Tensor]]
"""Returns the units to keep at a level in [0, 1]: 1 leaves the least."""


class Problem:
    """Units of a trained network, to be chosen at a level between none and all that may go.

    Every way keeps multiples of 8, and scores by Taylor on eight training batches.

    Args:
        net: the network.

    Attributes:
        ways: what chooses, by name.
        table_s: seconds that measuring the curves took.
        groups: how many groups there are.
        twins: measures compact twins.
    """

    def __init__(self, net: Trained) -> None:
        self._net, model = net, net.model
        recipe = Recipe(0.5, lp.Taylor(), lp.Channel(normalize="none"), of="latency")
        prunable = find_prunable(recipe, model, net.example)
        example = next(iter(prunable.examples))
        self._masks = Masks(model, prunable.groups)
        self._groups = self._masks.groups
        self.groups = len(self._groups)
        self._floors = floors(self._groups, recipe.granularity, recipe.allocation)
        prices = millisecond_prices(model, example, prunable.prices or {}, example.tensors[0])
        cost = cost_of("latency", self._groups, self._masks.shapes, prices)
        most = [g.units - floor for g, floor in zip(self._groups, self._floors, strict=True)]
        self._most_level = cost.removed(most) / cost.prunable
        by_prices = Chooser(model, recipe, prunable, self._masks, cost)
        normalized = replace(recipe, granularity=lp.Channel())
        by_ratio = Chooser(model, normalized, prunable, self._masks, cost, by_prices.scorer)
        self._scores = self._gathered(by_prices)
        self.twins = CompactTwins(
            model, self._masks, example, clock_of("eager"), allow_unused=False
        )
        self._curves = self._measured(example)
        relative = [scores / scores.mean() for scores in self._scores]
        self.ways: dict[str, KeepAt] = {
            "prices, relative scores": partial(self._by_prices, by_ratio),
            "prices": partial(self._by_prices, by_prices),
            "curves, Lagrangian, relative scores": partial(
                self._by_curves, by_lagrangian, relative
            ),
            "curves, milp, relative scores": partial(self._by_curves, by_milp, relative),
            "curves, Lagrangian": partial(self._by_curves, by_lagrangian, self._scores),
            "curves, milp": partial(self._by_curves, by_milp, self._scores),
        }

    def _gathered(self, chooser: Chooser) -> list[Tensor]:
        scorers = Scorers([chooser.scorer])
        scorers.start(only_training=False)
        for batch in self._net.train[:_BATCHES]:
            scorers.gather(loss_of, batch)
        scorers.stop()
        self._net.model.zero_grad()
        return [scores.double() for scores in chooser.scorer.scores()]

    def _measured(self, example: ExampleInputs) -> list[Curve]:
        model, started_s = self._net.model, time.perf_counter()
        coupling = couple(model, example)

        def twin(kept: Sequence[Tensor]) -> nn.Module:
            masked = copy.deepcopy(model)
            Masks(masked, self._groups).keep(kept)
            return compact_twin(masked, example, coupling=coupling)

        curves = measured_curves(model, example, self._groups, self._floors, twin)
        self.table_s = time.perf_counter() - started_s
        return curves

    def _by_prices(self, chooser: Chooser, level: float) -> list[Tensor]:
        return chooser.keep_at(level * self._most_level, ROUND_TO)

    def _by_curves(self, choice: Choice, scores: Sequence[Tensor], level: float) -> list[Tensor]:
        groups = [self._widths(index, scores[index]) for index in range(len(self._groups))]
        slow = sum(float(group.ms[-1]) for group in groups)
        fast = sum(float(group.ms[0]) for group in groups)
        chosen = choice(groups, slow - level * (slow - fast))
        kept = []
        for of_group, group, at in zip(scores, groups, chosen, strict=True):
            best = torch.argsort(of_group, stable=True, descending=True)[: int(group.units[at])]
            kept.append(torch.zeros(len(of_group), dtype=torch.bool).index_fill_(0, best, True))
        return kept

    def _widths(self, index: int, scores: Tensor) -> Widths:
        group = self._groups[index]
        step = math.lcm(ROUND_TO, group.granule)
        least = min(group.units, -(-self._floors[index] // step) * step)
        units = np.array(sorted({*range(least, group.units + 1, step), group.units}))
        highest_first = torch.sort(scores, descending=True).values
        together = torch.cat([torch.zeros(1).double(), highest_first.cumsum(0)]).numpy()
        return Widths(units, together[units], self._curves[index][units])

    def score(self, kept: list[Tensor]) -> float:
        """Return the fraction of all scores that these units have."""
        left = sum(float(s[units].sum()) for s, units in zip(self._scores, kept, strict=True))
        return left / sum(float(scores.sum()) for scores in self._scores)

    def compact(self, kept: list[Tensor]) -> nn.Module:
        """Return a verified compact copy with these units, its batch norms estimated anew."""
        model = copy.deepcopy(self._net.model)
        Masks(model, self._groups).keep(kept)
        if norms := list(norms_with_statistics(model)):
            runs = [lambda one, images=images: one(images) for images, _ in self._net.train]
            renew_norms(model, copy.deepcopy(self._net.model), norms, runs)
        lp.compact(model, self._net.example, latency=False)
        return model
