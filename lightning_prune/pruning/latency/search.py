"""The search: how much to remove so that the compact model measures as fast as asked.

A level, the fraction of the modelled cost that is removed, is corrected by measuring a compact twin
of the model under the masks in turns with the model itself, until asked and measured agree.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor, nn

from lightning_prune.compaction.compact_twin import compact_twin
from lightning_prune.coupling import Coupling, couple
from lightning_prune.errors import TargetError
from lightning_prune.measure import Speedup
from lightning_prune.measure.speedup import paired_speedup
from lightning_prune.modules.ranks import from_rank_zero
from lightning_prune.modules.twin import clone
from lightning_prune.pruning.latency.clock import Clock, clock_of
from lightning_prune.pruning.latency.prices import millisecond_prices
from lightning_prune.pruning.masks import Masks
from lightning_prune.pruning.prunable import Prunable
from lightning_prune.pruning.recipe import Recipe
from lightning_prune.units.cost import cost_of

Keep = Callable[[float, int], list[Tensor]]
"""Returns the units to keep at a level, in multiples."""

_TOLERANCE = 0.01
"""Relative difference of asked and measured speed-up that counts as none."""

_MOST_NOISE = 0.04
"""The same where measurements differ among each other by as much."""

_MISSED = 0.03
"""The same that is too much: then smaller multiples are tried, which are not as far apart."""

_MULTIPLE = 8
_PAYS = 1.05
"""How much more time has to go for multiples to be chosen: more than noise makes of it."""

_MOST_TRIES = 8
_MOST_REPEATS = 6
"""Times that the clock is asked again, while noise hides the tolerance."""


@dataclass(frozen=True)
class _Measured:
    """A measurement: the speed-up of a compact twin, and the p50 of the model in ms."""

    speedup: Speedup
    dense_ms: float


@dataclass(frozen=True, eq=False)
class _Try:
    """A level, the units kept there, what they measure, and what was asked."""

    level: float
    kept: list[Tensor]
    speedup: Speedup
    sparsity: float

    @property
    def distance(self) -> float:
        """The relative difference of the speed-up from that asked for."""
        return abs(self.speedup.ratio * (1 - self.sparsity) - 1)

    @property
    def agrees(self) -> bool:
        """Whether that is none."""
        return self.distance <= max(_TOLERANCE, min(self.speedup.spread, _MOST_NOISE))


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
        self._model, self._masks, self._allow_unused = model, masks, recipe.allow_unused
        self._example = next(iter(prunable.examples))
        self._clock = clock or clock_of(recipe.backend)
        self._coupling: Coupling | None = None
        self.round_to = 0
        self.restart()
        prices = millisecond_prices(model, self._example, prunable.prices or {}, self._like)
        self.cost = cost_of("latency", masks.groups, masks.shapes, prices)
        least = [torch.arange(g.units) < n for g, n in zip(masks.groups, floors, strict=True)]
        self._most = self._measured(least)
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
    def _like(self) -> Tensor:
        return next(iter(self._masks.weights.values()))

    @property
    def _ends(self) -> list[tuple[float, float]]:
        return [(0.0, 0.0), (self._max_level, _gone(self._most.speedup))]

    def _check(self, sparsity: float, latency_ms: float | None = None) -> None:
        """Refuse a target out of reach, with a `TargetError`."""
        dense_ms, reachable = self._most.dense_ms, _gone(self._most.speedup)
        if 1 - reachable <= (1 - sparsity) * (1 + _TOLERANCE):
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

    def find(self, sparsity: float, keep_at: Keep) -> list[Tensor]:
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
        self.speedup, self.reached = best.speedup, _gone(best.speedup)
        self._last = (best.level, self.reached)
        return best.kept

    def _best_multiple(self, sparsity: float, keep_at: Keep) -> int:
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
            gains.append(_gone(self._measured(kept).speedup) / cost)
        return _MULTIPLE if gains[1] > _PAYS * gains[0] else 1

    def _best(self, sparsity: float, keep_at: Keep) -> _Try:
        """Return the closest try, in smaller multiples where larger ones miss the target."""
        tries: list[_Try] = []
        for multiple in (m for m in (_MULTIPLE, 4, 2, 1) if m <= self.round_to):
            try:
                self._approach(sparsity, keep_at, multiple, tries)
            except TargetError:  # not as much can go in such multiples
                if multiple == 1 and not tries:
                    raise
            if tries and min(one.distance for one in tries) <= _MISSED:
                break
        best, *others = sorted(tries, key=lambda one: one.distance)[:2]
        if best.agrees:
            return best
        # None is as asked; which is closest may have been told by noise.
        again = [self._again(one) for one in (best, *others)]
        return min(again, key=lambda one: one.distance)

    def _approach(self, sparsity: float, keep_at: Keep, multiple: int, tries: list[_Try]) -> None:
        """Add tries until one is as asked, or nothing lies in between."""
        for _ in range(_MOST_TRIES):
            level = min(self.level_for(sparsity), self._max_level)
            kept = keep_at(level, multiple)
            if any(_same(kept, one.kept) for one in tries):
                return
            tries.append(self._try(level, sparsity, kept))
            if tries[-1].agrees:
                return

    def _try(self, level: float, sparsity: float, kept: list[Tensor]) -> _Try:
        """Measure at a level; where that is as asked, once more, and the second time counts."""
        # The first was taken because it was as asked: by chance, it may be.
        tried = _Try(level, kept, self._measured(kept).speedup, sparsity)
        self._points.append((level, _gone(tried.speedup)))
        if tried.agrees:
            again = self._again(tried)
            self._points[-1] = (level, (_gone(tried.speedup) + _gone(again.speedup)) / 2)
            return again
        return tried

    def _again(self, tried: _Try) -> _Try:
        return replace(tried, speedup=self._measured(tried.kept).speedup)

    def _measured(self, kept: Sequence[Tensor]) -> _Measured:
        """Measure the compact twin, on rank zero."""

        def measure() -> list[float]:
            models = [self._model, self._compact(kept)]
            runs_ms = self._clock(models, self._example)
            for _ in range(_MOST_REPEATS):
                speedup = paired_speedup(runs_ms[:, 0], runs_ms[:, 1])
                if speedup.spread <= _TOLERANCE:
                    break
                runs_ms = np.concatenate([runs_ms, self._clock(models, self._example)])
            speedup = paired_speedup(runs_ms[:, 0], runs_ms[:, 1])
            return [speedup.ratio, speedup.low, speedup.high, float(np.median(runs_ms[:, 0]))]

        ratio, low, high, dense_ms = from_rank_zero(measure, self._like, 4)
        return _Measured(Speedup(ratio, low, high), dense_ms)

    def _compact(self, kept: Sequence[Tensor]) -> nn.Module:
        masked = clone(self._model).eval()
        Masks(masked, self._masks.groups).keep(kept)
        example = self._example.on(masked)
        if self._coupling is None:
            self._coupling = couple(masked, example, allow_unused=self._allow_unused)
        return compact_twin(
            masked, example, coupling=self._coupling, allow_unused=self._allow_unused
        )

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


def _same(kept: Sequence[Tensor], others: Sequence[Tensor]) -> bool:
    return all(torch.equal(one, other) for one, other in zip(kept, others, strict=True))


def _gone(speedup: Speedup) -> float:
    """Return the fraction of the milliseconds that is gone."""
    return 1 - 1 / speedup.ratio
