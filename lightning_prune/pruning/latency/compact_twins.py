"""Compact twins of a model, measured in turns with it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from torch import Tensor, nn

from lightning_prune.compaction.compact_twin import compact_twin
from lightning_prune.coupling import Coupling, couple
from lightning_prune.measure import Speedup
from lightning_prune.measure.speedup import speedup_in_places
from lightning_prune.modules.inputs import ExampleInputs
from lightning_prune.modules.ranks import from_rank_zero
from lightning_prune.modules.twin import clone
from lightning_prune.pruning.latency.clock import Clock
from lightning_prune.pruning.latency.tries import TOLERANCE
from lightning_prune.pruning.masks import Masks

_LEAST_PLACES = 3
"""In how many places of the memory models are measured, near what was asked."""

_MOST_PLACES = 9
"""The same, while noise hides the tolerance."""

_ROUGHLY = 0.03
"""Relative spread of a speed-up that only leads to others."""


@dataclass(frozen=True)
class Measured:
    """A measurement: the speed-up of a compact twin, and the p50 of the model in ms."""

    speedup: Speedup
    dense_ms: float


class CompactTwins:
    """Compact copies of a model.

    Args:
        model: any module; stays as it is.
        masks: over its units.
        example: what it runs on.
        clock: measures.
        coupling: of the model; ``None`` = by the example, when it is needed.
        allow_unused: whether parameters may be unused.
    """

    def __init__(
        self,
        model: nn.Module,
        masks: Masks,
        example: ExampleInputs,
        clock: Clock,
        *,
        coupling: Coupling | None = None,
        allow_unused: bool,
    ) -> None:
        self._model, self._masks, self._example = model, masks, example
        self._clock, self._allow_unused = clock, allow_unused
        self._coupling = coupling

    def measured(self, kept: Sequence[Tensor], asked: float | None = None) -> Measured:
        """Measure the twin that has only these units, on rank zero.

        It is measured again while noise hides how far it is from what was asked.

        Args:
            kept: for each group, flags of its units.
            asked: the speed-up; ``None`` = roughly is enough.

        Returns:
            The same on every rank.
        """

        def measure() -> list[float]:
            models: Sequence[nn.Module] = [self._model, self._compact(kept)]
            places = [self._clock(models, self._example)]
            while True:
                speedup = speedup_in_places(places)
                distance = _ROUGHLY if asked is None else abs(speedup.ratio / asked - 1) / 3
                least = 1 if distance > TOLERANCE else _LEAST_PLACES
                is_clear = speedup.spread <= max(TOLERANCE, distance)
                if len(places) >= (least if is_clear else _MOST_PLACES):
                    break
                models = self._clock.moved(models)
                places.append(self._clock(models, self._example))
            dense_ms = float(np.median(np.concatenate(places)[:, 0]))
            return [speedup.ratio, speedup.low, speedup.high, dense_ms]

        like = next(iter(self._masks.weights.values()))
        ratio, low, high, dense_ms = from_rank_zero(measure, like, 4)
        return Measured(Speedup(ratio, low, high), dense_ms)

    def _compact(self, kept: Sequence[Tensor]) -> nn.Module:
        masked = clone(self._model).eval()
        Masks(masked, self._masks.groups).keep(kept)
        example = self._example.on(masked)
        if self._coupling is None:
            self._coupling = couple(masked, example, allow_unused=self._allow_unused)
        return compact_twin(
            masked, example, coupling=self._coupling, allow_unused=self._allow_unused
        )
