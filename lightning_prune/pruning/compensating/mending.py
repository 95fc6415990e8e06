"""Mending: what follows an update of the masks, so that the model computes nearly what it did."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from lightning_prune.compensations import Compensation
from lightning_prune.modules.news import is_news
from lightning_prune.modules.seeding import Draws, seeded
from lightning_prune.modules.twin import clone, twin
from lightning_prune.pruning.comparing.judge import Judge
from lightning_prune.pruning.compensating.compensate import Compensated, Compensator
from lightning_prune.pruning.compensating.norms import (
    Run,
    copy_statistics,
    norms_with_statistics,
    renew_norms,
)
from lightning_prune.pruning.masks import Masks


@dataclass(frozen=True)
class Calibration:
    """Calibration data.

    Args:
        runs: returns what runs a model on each batch of it; called when it is needed.
        add_up: returns the sum of a tensor over all ranks, each of which has data of its own.
        judge: measures a model on data that are not among these, ``None`` = there are none.
    """

    runs: Callable[[], Sequence[Run]]
    add_up: Callable[[Tensor], Tensor] = lambda tensor: tensor
    judge: Judge | None = None


@dataclass(frozen=True)
class _SeededRun:
    """Runs any model on a batch with the same random numbers, such as those of augmentations."""

    run: Run
    seed: int

    def __call__(self, model: nn.Module) -> Any:
        devices = {parameter.device for parameter in model.parameters()}
        with Draws(self.seed, devices).in_force():
            return self.run(model)


class Mending:
    """A model before an update, and what is mended after it.

    Args:
        model: the model that is pruned; its weights and the statistics of its norms are changed.
        masks: its masks.
        compensation: changes the readers of removed units, ``None`` = they stay.
        norms: whether the statistics of batch norms are estimated anew.
        calibration: the data.

    Raises:
        ValueError: if there are no data for a compensation.
    """

    def __init__(
        self,
        model: nn.Module,
        masks: Masks,
        compensation: Compensation | None,
        *,
        norms: bool,
        calibration: Calibration,
    ) -> None:
        self._model, self._masks, self._compensation = model, masks, compensation
        found = norms_with_statistics(model) if norms else {}
        # Those that a training keeps in eval mode are frozen.
        self._norms = [name for name, n in found.items() if n.training or not model.training]
        self._calibration, self._kept = calibration, masks.kept
        if compensation is not None and not calibration.runs():
            raise ValueError(
                f"Expected batches to calibrate {compensation}, but got none. Pass a list or a "
                "data loader: an iterator is at its end after the first update."
            )
        mends = compensation is not None or self._norms
        self._before = clone(model).eval() if mends else None

    def finish(self) -> Compensated | None:
        """Mend the model; return what was done, ``None`` if there was nothing to mend."""
        with seeded(0, {p.device for p in self._model.parameters()}):  # data may be drawn, too
            return self._mended()

    def _mended(self) -> Compensated | None:
        removed = [
            group
            for group, before, now in zip(
                self._masks.groups, self._kept, self._masks.kept, strict=True
            )
            if bool((before & ~now).any())
        ]
        if not removed or self._before is None:
            return None
        mended = twin(self._model).eval()
        self._masks.apply_to_copy(mended)
        if self._compensation is None:
            return self._renewed(mended)
        members = [m for g in removed for m in g.parameters if m.side == "in"]
        names = list(dict.fromkeys(member.axis.tensor for member in members))
        runs, add_up = self._runs(), self._calibration.add_up
        compensator = Compensator(self._compensation, mended, self._before, self._masks, add_up)
        done = compensator.fit(names, runs)
        fitted = set(done.norms) if done.refitted else set()  # they read what they did before
        names = [name for name in self._norms if name not in fitted]
        renew_norms(mended, self._before, names, runs, add_up)
        copy_statistics(mended, self._model)
        return done

    def _runs(self) -> list[Run]:
        return [_SeededRun(run, number) for number, run in enumerate(self._calibration.runs())]

    def _renewed(self, mended: nn.Module) -> Compensated | None:
        """Renew norms alone; where the data or the model cannot be run, a training goes on."""
        if self._before is None:
            return None
        try:
            runs, add_up = self._runs(), self._calibration.add_up
            renew_norms(mended, self._before, self._norms, runs, add_up)
        except Exception as error:  # whatever a data set or a model raises
            message = (
                "Expected examples of the training data on which the model runs, to estimate the "
                f"statistics of its batch norms anew, but got {type(error).__name__}: {error}. "
                "They stay. Pass `calibration=[batch, ...]`, or `renew_norms=False`."
            )
            if is_news(self._model, message):
                warnings.warn(message, stacklevel=2)
            return None
        copy_statistics(mended, self._model)
        return Compensated()
