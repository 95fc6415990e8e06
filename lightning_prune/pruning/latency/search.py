"""The search: how much to remove so that the compact model measures as fast as asked.

A level, the fraction of the modelled cost that is removed, is corrected by measuring a compact twin
of the model under the masks in turns with the model itself, until asked and measured agree.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial

import numpy as np
import torch
from torch import Tensor, nn

from lightning_prune.errors import TargetError
from lightning_prune.measure import Speedup
from lightning_prune.pruning.latency.clock import Clock, clock_of
from lightning_prune.pruning.latency.compact_twins import CompactTwins
from lightning_prune.pruning.latency.prices import millisecond_prices
from lightning_prune.pruning.latency.tries import (
    TOLERANCE,
    KeepAt,
    KeepInMultiples,
    Try,
    fraction_gone,
    is_missed,
    neighbours,
    same_as,
)
from lightning_prune.pruning.masks import Masks
from lightning_prune.pruning.prunable import Prunable
from lightning_prune.pruning.recipe import Recipe
from lightning_prune.units.cost import cost_of

_MULTIPLE = 8
_PAYS = 1.05
"""How much more time has to go for multiples to be chosen: more than noise makes of it."""

_MOST_TRIES = 8


class LatencySearch:
    """Masks of a model, chosen by what the compact model measures.

    Args:
        model: any module.
        recipe: what to prune, of the latency.
        prunable: what there is to prune; latency is that of its first example.
        masks: over the units.
        floors: how many units each group keeps at least.
        clock: measures; ``None`` = that of the recipe's backend.

    Attributes:
        cost: what units cost in ms, as a first guess.
        round_to: of what the number of kept units is a multiple; 0 before that is measured.
        reached: the measured fraction of the milliseconds that is gone, in [0, 1).
        speedup: the last one measured for the masks in force; ``None`` before.
        final: the fraction to reach in the end.

    Raises:
        TargetError: if the target is out of reach, or the weights are sharded.
        ExampleInputsError: if the model does not run on the example.
    """

    def __init__(
        self,
        model: nn.Module,
        recipe: Recipe,
        prunable: Prunable,
        masks: Masks,
        floors: Sequence[int],
        clock: Clock | None = None,
    ) -> None:
        if masks.sharded:
            raise TargetError(
                "Expected whole weights on every rank for of='latency', but got sharded ones. "
                "Choose of='macs'."
            )
        example = next(iter(prunable.examples))
        clock = clock or clock_of(recipe.backend)
        coupling, allow_unused = prunable.coupling, recipe.allow_unused
        self._twins = CompactTwins(
            model, masks, example, clock, coupling=coupling, allow_unused=allow_unused
        )
        self.round_to = 0
        self.restart()
        like = next(iter(masks.weights.values()))
        prices = millisecond_prices(model, example, prunable.prices or {}, like)
        self.cost = cost_of("latency", masks.groups, masks.shapes, prices)
        least = [torch.arange(g.units) < n for g, n in zip(masks.groups, floors, strict=True)]
        self._most = self._twins.measured(least)
        gone = self.cost.removed([int((~kept).sum()) for kept in least])
        self._max_level = gone / self.cost.prunable if self.cost.prunable else 1.0
        self._points = self._ends
        ms = recipe.latency_ms
        self.final = recipe.sparsity if ms is None else max(0.0, 1 - ms / self._most.dense_ms)
        self._check(self.final, ms)

    def restart(self) -> None:
        """Forget what was reached: all units are kept again."""
        self.reached = 0.0
        self.speedup: Speedup | None = None
        self._last = (0.0, 0.0)

    @property
    def _ends(self) -> list[tuple[float, float]]:
        return [(0.0, 0.0), (self._max_level, fraction_gone(self._most.speedup))]

    def _check(self, sparsity: float, latency_ms: float | None = None) -> None:
        """Refuse a target out of reach, with a `TargetError`."""
        dense_ms, reachable = self._most.dense_ms, fraction_gone(self._most.speedup)
        if 1 - reachable <= (1 - sparsity) * (1 + TOLERANCE):
            return
        fastest_ms = dense_ms * (1 - reachable)
        most = math.floor(1e4 * max(reachable, 0.0)) / 1e4
        asked, got = f"`sparsity` to be at most {most:.4f} of the latency", f"{sparsity:.4f}"
        if latency_ms is not None:
            asked, got = f"`latency_ms` to be at least {fastest_ms:.3g}", f"{latency_ms}"
        raise TargetError(
            f"Expected {asked} here, but got {got}. With every unit removed that may go, the model "
            f"measures {fastest_ms:.3g} of {dense_ms:.3g} ms; ask for less, or let more of the "
            "model be pruned."
        )

    def level_for(self, sparsity: float) -> float:
        """Return the level at which so much is gone, by what was measured so far.

        Args:
            sparsity: the fraction of the milliseconds to remove, in [0, 1).
        """
        levels, gone = np.array(sorted(self._points)).T
        # Noise may order two points the wrong way round.
        rising = (np.maximum.accumulate(gone) + np.minimum.accumulate(gone[::-1])[::-1]) / 2
        return float(np.interp(sparsity, rising, levels))

    def find(self, sparsity: float, keep_at: KeepInMultiples) -> list[Tensor]:
        """Return the units to keep so that the compact model measures as asked.

        The first time it is measured, too, whether kernels are faster with multiples of 8 units.

        Args:
            sparsity: the fraction of the milliseconds to remove, in [0, 1).
            keep_at: returns the units to keep at a level, in multiples.

        Returns:
            Those that came closest; `reached` is what they measure.

        Raises:
            TargetError: if the target is out of reach.
        """
        self._check(sparsity)
        self._points = [*self._ends, self._last]
        if not self.round_to:
            self.round_to = self._best_multiple(sparsity, keep_at)
        best = self._best(sparsity, keep_at)
        self.speedup, self.reached = best.speedup, best.gone
        self._last = (best.level, self.reached)
        return best.kept

    def _best_multiple(self, sparsity: float, keep_at: KeepInMultiples) -> int:
        """Return the multiple with which the most time goes for the same modelled cost."""
        level, gains = min(self.level_for(sparsity), self._max_level), []
        for multiple in (1, _MULTIPLE):
            try:
                kept = keep_at(level, multiple)
            except TargetError:
                return 1
            cost = self.cost.removed([int((~units).sum()) for units in kept])
            if not cost:
                return 1
            gains.append(fraction_gone(self._twins.measured(kept).speedup) / cost)
        return _MULTIPLE if gains[1] > _PAYS * gains[0] else 1

    def _best(self, sparsity: float, keep_at: KeepInMultiples) -> Try:
        """Return the closest try, by smaller steps where larger ones miss the target."""
        tries: list[Try] = []
        for multiple in (m for m in (_MULTIPLE, 4, 2, 1) if m <= self.round_to):
            try:
                self._try_steps(sparsity, partial(keep_at, round_to=multiple), tries)
            except TargetError:  # not as much can go in such multiples
                if multiple == 1 and not tries:
                    raise
            if not is_missed(tries):
                break
        best, *others = sorted(tries, key=lambda one: one.distance)[:2]
        if best.agrees:
            return best
        # None is as asked; which is closest may have been told by noise.
        again = [self._again(one) for one in (best, *others)]
        return min(again, key=lambda one: one.distance)

    def _try_steps(self, sparsity: float, keep: KeepAt, tries: list[Try]) -> None:
        """Add tries, with one group apart from the others where that comes closer."""
        earlier = len(tries)
        self._approach(sparsity, keep, tries)
        if is_missed(tries) and (between := neighbours(tries[earlier:])):
            self._close_gap(sparsity, keep, tries, *between)

    def _approach(self, sparsity: float, keep: KeepAt, tries: list[Try]) -> None:
        """Add tries until one is as asked, or nothing lies in between."""
        for _ in range(_MOST_TRIES):
            level = min(self.level_for(sparsity), self._max_level)
            kept = keep(level)
            if known := same_as(kept, tries):
                self._points.append((level, known.gone))
                continue
            tries.append(self._try(level, sparsity, kept))
            if tries[-1].agrees:
                return

    def _close_gap(
        self,
        sparsity: float,
        keep: KeepAt,
        tries: list[Try],
        slower: Try,
        faster: Try,
    ) -> None:
        """Add tries between two, where the units of one group are too large a step.

        The group whose step is the largest stays as in the slower one, and the others go on.
        """
        largest = max(range(len(slower.kept)), key=lambda g: self._step(g, slower, faster))

        def keep_others(level: float) -> list[Tensor]:
            kept = keep(level)
            kept[largest] = slower.kept[largest]
            return kept

        points = self._points
        self._points = [(faster.level, slower.gone), self._ends[1]]
        self._approach(sparsity, keep_others, tries)
        self._points = points

    def _step(self, group: int, slower: Try, faster: Try) -> float:
        """Return what the units of one group cost that the faster one lacks."""
        counts = [int((~units).sum()) for units in slower.kept]
        before = self.cost.removed(counts)
        counts[group] = int((~faster.kept[group]).sum())
        return self.cost.removed(counts) - before

    def _try(self, level: float, sparsity: float, kept: list[Tensor]) -> Try:
        """Measure at a level; where that is as asked, once more, and the second time counts."""
        # The first was taken because it was as asked: by chance, it may be.
        measured = self._twins.measured(kept, 1 / (1 - sparsity))
        tried = Try(level, kept, measured.speedup, sparsity)
        self._points.append((level, tried.gone))
        if tried.agrees:
            again = self._again(tried)
            self._points[-1] = (
                level,
                (fraction_gone(tried.speedup) + fraction_gone(again.speedup)) / 2,
            )
            return again
        return tried

    def _again(self, tried: Try) -> Try:
        measured = self._twins.measured(tried.kept, 1 / (1 - tried.sparsity))
        return replace(tried, speedup=measured.speedup)

    def state_dict(self) -> dict[str, float]:
        """Return what was asked for and reached."""
        return {
            "final": self.final,
            "reached": self.reached,
            "level": self._last[0],
            "round_to": self.round_to,
        }

    def load_state_dict(self, state: Mapping[str, float]) -> None:
        """Take over what `state_dict` returned."""
        self.final, self.reached = state["final"], state["reached"]
        self.round_to = int(state["round_to"])
        self._last = (state["level"], self.reached)
        self._points = [*self._ends, self._last]
