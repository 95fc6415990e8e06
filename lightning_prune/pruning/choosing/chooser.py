"""The chooser: which units to keep, by one criterion and one allocation."""

from __future__ import annotations

import math
from functools import partial

from torch import Tensor, nn

from lightning_prune.pruning.choosing.choice import choose
from lightning_prune.pruning.choosing.ranking import (
    floors,
    is_additive,
    per_cost,
    removal_priorities,
)
from lightning_prune.pruning.choosing.weight_choice import choose_weights, single_weights
from lightning_prune.pruning.masks import Masks
from lightning_prune.pruning.prunable import Prunable
from lightning_prune.pruning.recipe import Recipe
from lightning_prune.pruning.scorer import Scorer
from lightning_prune.units.cost import Cost, check_reachable
from lightning_prune.units.masks import find_erased


class Chooser:
    """Chooses units by the scores of one criterion; it changes nothing.

    Args:
        model: any module.
        recipe: what to prune, by a criterion that gives scores itself.
        prunable: what there is to prune.
        masks: what is kept so far.
        cost: what units cost.
        scorer: of the same criterion, ``None`` to make one.

    Attributes:
        recipe: the same.
        scorer: gathers the scores.
        floors: how many units each group keeps at least.

    Raises:
        TargetError: if a group has no score by the criterion, or there is not as much as the
            recipe asks for.
        ValueError: if the allocation does not go with the groups.
    """

    def __init__(
        self,
        model: nn.Module,
        recipe: Recipe,
        prunable: Prunable,
        masks: Masks,
        cost: Cost,
        scorer: Scorer | None = None,
    ) -> None:
        self.recipe, self._masks, self._cost = recipe, masks, cost
        groups = masks.groups
        recipe.allocation.check(groups)
        self.floors = floors(groups, recipe.granularity, recipe.allocation)
        self.scorer = scorer or Scorer(
            model,
            masks.weights,
            groups,
            criterion=recipe.criterion,
            reduce=recipe.granularity.rules.reduce,
            examples=prunable.examples,
            remaining=partial(getattr, masks, "remaining"),  # which pickles, and follows copies
        )
        if recipe.of != "latency":
            most = [g.units - floor for g, floor in zip(groups, self.floors, strict=True)]
            check_reachable(cost, recipe.sparsity, cost.removed(most))

    def keep_at(self, level: float, round_to: int = 1) -> list[Tensor]:
        """Return which units to keep with a fraction of the cost removed, on the CPU.

        Args:
            level: the fraction, in [0, 1).
            round_to: keep multiples of so many units.

        Returns:
            A boolean tensor for each group, of shape ``[units]``.
        """
        masks, recipe = self._masks, self.recipe
        if single_weights(recipe, masks.groups, self._cost) and not masks.remaining:
            weights = list(masks.weights.values())
            scores_of = self.scorer.weight_scores()
            return choose_weights(scores_of, masks.kept, masks.removed, weights, self._cost, level)
        scores = self.scorer.scores()
        tensors = {**masks.weights, **masks.fixed.tensors}
        full = {name: masks.widened(name, tensor) for name, tensor in tensors.items()}
        erased = find_erased(masks.groups, full)
        dead = [~kept.to(e.device) | e for kept, e in zip(masks.kept, erased, strict=True)]
        priorities = removal_priorities(
            masks.groups, scores, dead, masks.shapes, recipe.granularity, recipe.allocation
        )
        if recipe.of == "latency" and is_additive(recipe.granularity, recipe.allocation):
            priorities = per_cost(priorities, self._cost)
        round_to = math.lcm(recipe.granularity.rules.round_to, round_to)
        steps = [math.lcm(round_to, group.granule) for group in masks.groups]
        chosen = choose(priorities, self._cost, level, self.floors, steps)
        # Where all of a group was erased, one unit is protected that may have been removed before.
        return [new.cpu() & old for new, old in zip(chosen, masks.kept, strict=True)]


def choosers_of(
    model: nn.Module, recipe: Recipe, prunable: Prunable, masks: Masks, cost: Cost
) -> list[Chooser]:
    """Return a chooser for each alternative of a recipe; those of one criterion share its scorer.

    The arguments and errors are those of `Chooser`.
    """
    choosers: list[Chooser] = []
    for one in recipe.alternatives:
        same = (c.scorer for c in choosers if c.recipe.criterion == one.criterion)
        choosers.append(Chooser(model, one, prunable, masks, cost, next(same, None)))
    return choosers
