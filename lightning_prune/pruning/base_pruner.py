"""The pruner without a schedule: accumulate, score, allocate, mask.

It works on any module and knows no training loop: what does calls `accumulate` before an optimizer
step, applies the masks after it, and calls `update` when its schedule says so.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from lightning_prune.arguments import check_sparsity
from lightning_prune.compaction.remaining import Remaining
from lightning_prune.criteria import Gradient
from lightning_prune.errors import TargetError
from lightning_prune.granularities import NM
from lightning_prune.modules.gathering import reshard
from lightning_prune.pruning.choosing.chooser import Chooser, choosers_of
from lightning_prune.pruning.choosing.ranking import floors
from lightning_prune.pruning.choosing.regrowth import exchange
from lightning_prune.pruning.choosing.selection import nothing_to_prune
from lightning_prune.pruning.choosing.weight_choice import check_sharded
from lightning_prune.pruning.comparing.auto import Auto
from lightning_prune.pruning.comparing.comparison import Comparison
from lightning_prune.pruning.comparing.trials import try_all, unchanged
from lightning_prune.pruning.compensating.compensate import Compensated
from lightning_prune.pruning.compensating.mending import Calibration, Mending
from lightning_prune.pruning.compensating.norms import copy_statistics
from lightning_prune.pruning.latency.clock import Clock
from lightning_prune.pruning.latency.search import LatencySearch
from lightning_prune.pruning.masks import Masks
from lightning_prune.pruning.prunable import Prunable
from lightning_prune.pruning.recipe import Recipe
from lightning_prune.pruning.report import PruningReport, report_of
from lightning_prune.pruning.scorer import Scorer
from lightning_prune.pruning.scorers import Scorers
from lightning_prune.pruning.spared import Spared
from lightning_prune.units.cost import cost_of


class BasePruner:
    """Masks over the units of a model, and the scores by which the next update chooses.

    Args:
        model: any module; its parameters are changed in place.
        recipe: what to prune.
        prunable: what there is to prune.
        clock: measures latency, if that is asked for.
        remaining: what a compact model has of the size that ``prunable`` is of; ``None`` = all.

    Attributes:
        masks: what is kept.
        scorers: gather the scores.

    Raises:
        ValueError: if prices are missing that the recipe needs.
        TargetError: if there is no group, one without a score by the criterion, or not as much as
            the recipe asks for.
    """

    def __init__(
        self,
        model: nn.Module,
        recipe: Recipe,
        prunable: Prunable,
        *,
        clock: Clock | None = None,
        remaining: Remaining | None = None,
    ) -> None:
        self._model, self._recipe = model, recipe
        # Recordings take memory; a search keeps its own.
        self._prunable = replace(prunable, coupling=None)
        groups = tuple(prunable.groups)
        if not groups:
            raise TargetError(nothing_to_prune(prunable.left_alone, recipe.granularity))
        self.masks = Masks(model, groups, remaining)
        self._spared = Spared(model, self.masks, patterns=isinstance(recipe.granularity, NM))
        self._search: LatencySearch | None = None
        if recipe.of == "latency":
            least = floors(groups, recipe.granularity, recipe.allocation)
            self._search = LatencySearch(model, recipe, prunable, self.masks, least, clock)
            self._cost = self._search.cost
        else:
            self._cost = cost_of(recipe.of, groups, self.masks.shapes, prunable.prices)
        if self.masks.sharded:
            check_sharded(recipe, groups, self._cost)
        self._choosers = choosers_of(model, recipe, prunable, self.masks, self._cost)
        self._chooser = self._choosers[0]
        self._repaired: Compensated | None = None
        self._growth: Scorer | None = None
        if recipe.regrows:
            self._growth = Scorer(model, self.masks.weights, groups, criterion=Gradient())
        self.scorers = Scorers([chooser.scorer for chooser in self._choosers], self._growth)

    @property
    def final(self) -> float:
        """The sparsity to reach in the end: the recipe's, or what its latency takes."""
        return self._recipe.sparsity if self._search is None else self._search.final

    @property
    def sparsity(self) -> float:
        """The fraction removed so far, of what `of` says, in [0, 1); of latency as measured."""
        if self._search is not None:
            return self._search.reached
        return self._cost.removed(self.masks.removed) / self._cost.prunable

    @property
    def unused(self) -> tuple[str, ...]:
        """Names of the parameters that no example runs."""
        return tuple(self._prunable.unused)

    @property
    def ready(self) -> bool:
        """Whether there are scores for an update. Synchronises with the device."""
        return self.scorers.ready

    @property
    def scorer(self) -> Scorer:
        """The scorer of the last choice; before one, of the first candidate."""
        return self._chooser.scorer

    def accumulate(
        self,
        parameters: Iterable[Tensor] | None = None,
        grad_scale: float | Tensor | None = None,
    ) -> None:
        """Look at one step, where the criterion reads gradients.

        Call it when gradients are final: accumulated, reduced over ranks, before clipping.

        Args:
            parameters: those whose gradients belong to this step, ``None`` = all.
            grad_scale: what the gradients were multiplied with, ``None`` = nothing.
        """
        self.scorers.add(parameters, grad_scale)

    def removes(self, sparsity: float, *, monotone: bool = True) -> bool:
        """Return whether an update would remove something, for which there must be scores.

        Args:
            sparsity: that of the update.
            monotone: what is removed stays removed.
        """
        start = self.sparsity
        return sparsity > (start if monotone or sparsity >= start else 0.0)

    def follow(
        self,
        sparsity: float,
        *,
        monotone: bool = True,
        share: float = 0.0,
        optimizers: Iterable[Optimizer] = (),
        add_up: Callable[[Tensor], Tensor] | None = None,
        calibration: Calibration | None = None,
    ) -> PruningReport:
        """Update the masks as a schedule says, and the optimizers with them.

        Args:
            sparsity: the fraction to have removed after this, in [0, 1).
            monotone: what is removed stays removed; else everything is released first, where
                the sparsity falls.
            share: of the kept units, to be exchanged for removed ones, in [0, 1).
            optimizers: those of the model.
            add_up: returns the sum of a tensor over all ranks, ``None`` = there is one.
            calibration: data for what the recipe mends afterwards, ``None`` = nothing is mended.

        Returns:
            What was reached.

        Raises:
            TargetError: if the target is out of reach, or if there are no finite scores.
        """
        optimizers = list(optimizers)
        if add_up is not None:
            self.scorers.reduce(add_up)
        if sparsity < self.sparsity and not monotone:
            for optimizer in optimizers:  # what it has kept of masked weights is not theirs
                self.masks.apply_to_optimizer(optimizer)
            self.masks.release()
            if self._search is not None:
                self._search.restart()
        report = self.update(sparsity, share, calibration)
        for optimizer in optimizers:
            self.masks.apply_to_optimizer(optimizer)
        return report

    def update(
        self, sparsity: float, share: float = 0.0, calibration: Calibration | None = None
    ) -> PruningReport:
        """Remove the units of the lowest scores until ``sparsity`` is reached; forget all scores.

        What is removed stays removed, except in the exchange; if that much is removed already,
        nothing changes.

        Args:
            sparsity: the fraction to have removed after this, not *more*, in [0, 1).
            share: of the kept units, to be exchanged for removed ones, in [0, 1).
            calibration: data for what the recipe mends afterwards, ``None`` = nothing is mended.

        Returns:
            What was reached.

        Raises:
            ValueError: if ``sparsity`` is outside its range.
            TargetError: if it is out of reach, or if there are no finite scores.
        """
        check_sparsity(sparsity)
        reshard(self._model)
        comparison = None
        if self._recipe.chooses and sparsity > self.sparsity:
            comparison = self.compare(sparsity, calibration)
            self._chooser = self._choosers[comparison.best_index]
        mended = self._cut(self._chooser, sparsity, calibration, share)
        if calibration is not None:
            self._repaired = mended
        self.scorers.reset()
        return replace(self.report(sparsity), comparison=comparison)

    def compare(self, sparsity: float, calibration: Calibration | None) -> Comparison:
        """Return what the model measures after an update by each candidate; nothing changes.

        Args:
            sparsity: the fraction to have removed then, in [0, 1).
            calibration: data for what the recipe mends, and what measures.

        Raises:
            ValueError: if nothing measures.
            TargetError: if it is out of reach, or if there are no finite scores.
        """

        def cut(chooser: Chooser) -> None:
            self._cut(chooser, sparsity, calibration)

        auto = self._recipe.criterion
        seconds = auto.seconds if isinstance(auto, Auto) else None
        return try_all(self._model, self.masks, self._choosers, cut, calibration, seconds)

    def _cut(
        self,
        chooser: Chooser,
        sparsity: float,
        calibration: Calibration | None,
        share: float = 0.0,
    ) -> Compensated | None:
        """Remove and exchange units, and mend the model; return what was done of the latter."""
        recipe, mending = chooser.recipe, None
        if calibration is not None and not self.masks.sharded:
            mending = Mending(
                self._model,
                self.masks,
                recipe.compensation,
                norms=recipe.renew_norms,
                calibration=calibration,
            )
        before, rounds = self.sparsity, recipe.criterion.rounds
        for done in range(1, rounds + 1 if sparsity > before else 1):
            # Every round removes the same fraction of what remains.
            left = (1 - before) ** (1 - done / rounds) * (1 - sparsity) ** (done / rounds)
            level = sparsity if done == rounds else 1 - left
            if level > self.sparsity:
                self.masks.keep(self._spared.added_to(self._choice(chooser, level)))
        if share and self._growth is not None:
            scores, growth = chooser.scorer.scores(), self._growth.scores()
            exchanged = exchange(self.masks.kept, scores, growth, share)
            self.masks.keep(self._spared.added_to(exchanged))
        return None if mending is None else mending.finish()

    @torch.no_grad()
    def rehearse(self, sparsity: float) -> PruningReport:
        """Return what `update` would reach; masks and weights stay, scores are forgotten."""
        search = None if self._search is None else self._search.state_dict()
        with unchanged(self._model, self.masks):
            report = self.update(sparsity)
        if self._search is not None and search is not None:
            self._search.load_state_dict(search)
        return report

    @torch.no_grad()
    def preview(self, sparsity: float) -> list[Tensor]:
        """Return which units an update would keep now, on the CPU; nothing changes.

        Under a target of latency these are near the units, as nothing is measured.
        """
        level = sparsity if self._search is None else self._search.level_for(sparsity)
        return self._chooser.keep_at(level)

    @torch.no_grad()
    def _choice(self, chooser: Chooser, sparsity: float) -> list[Tensor]:
        """Return which units to keep, on the CPU."""
        search, keep_at = self._search, chooser.keep_at
        return keep_at(sparsity) if search is None else search.find(sparsity, keep_at)

    @property
    def can_narrow(self) -> bool:
        """Whether the model may become compact now, and updates go on as before.

        They do where scores are read off weights and gradients, and no weight that is removed is
        needed again. After the last update that does not matter.
        """
        recipe = self._recipe
        needs_full_size = recipe.regrows or recipe.chooses or recipe.of == "latency"
        return not needs_full_size and self.scorers.survive_compaction

    def narrow(self, remaining: Remaining) -> None:
        """Follow the model, which has become compact.

        Args:
            remaining: what it has of the size that it had.
        """
        self.masks.narrow(remaining)

    def copy_buffers(self, model: nn.Module) -> None:
        """Bring what updates have changed of buffers to a copy of the model with its weights."""
        self.masks.apply_to_copy(model)
        if self._repaired is not None:
            copy_statistics(self._model, model)

    def report(self, target: float) -> PruningReport:
        """Return what is reached, with the ``target`` asked for."""
        report = report_of(
            target, self.sparsity, self._recipe.of, self.masks, self._prunable, self._chooser.floors
        )
        speedup = None if self._search is None else self._search.speedup
        compensated = self._repaired if self._recipe.compensation is not None else None
        return replace(report, speedup=speedup, compensated=compensated)

    def adopt(self, other: BasePruner) -> None:
        """Take over masks and scores of a pruner of the same model that knew fewer groups."""
        self.masks.adopt(other.masks)
        if self._search is not None and other._search is not None:
            self._search.load_state_dict(other._search.state_dict())
        self.scorers.adopt(other.scorers)
        self._chooser = self._choosers[other._choosers.index(other._chooser)]

    def state_dict(self) -> dict[str, Any]:
        """Return the masks as packed bits and the scores of the open window."""
        state = {
            **self.masks.state_dict(),
            "scores": self.scorers.state_dict(),
            "candidate": self._choosers.index(self._chooser),
        }
        return state if self._search is None else {**state, "latency": self._search.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take over masks and scores of the same groups, else raise a `ValueError`."""
        self.masks.load_state_dict(state)
        if self._search is not None:
            self._search.load_state_dict(state["latency"])
        self.scorers.load_state_dict(state["scores"])
        self._chooser = self._choosers[state["candidate"]]
