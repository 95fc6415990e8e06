"""The scorer: scores of units, gathered while a model trains or read off its weights.

It writes to no weight and knows no masks.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from lightning_prune.criteria.base import Criterion
from lightning_prune.criteria.evidence.base import Subject
from lightning_prune.errors import TargetError
from lightning_prune.modules.inputs import ExampleInputs
from lightning_prune.modules.shards import join_like, sum_over_ranks
from lightning_prune.units.group import Group
from lightning_prune.units.scores import Reduce, scored_members, unit_rows, unit_scores

_SAMPLED = 4096


class Scorer:
    """Scores of the units of groups by one criterion.

    Args:
        model: the module that the groups are of.
        weights: the parameters on which their units lie, by name.
        groups: the groups.
        criterion: gives the scores.
        reduce: how scores of weights become those of units.
        examples: example inputs, where the criterion needs some.
        widened: returns the scores of a weight in the size that the groups are of, by its name.

    Attributes:
        evidence: gathers what the criterion reads.
        sample: of the scores that were asked for last, at most 4096 of each group, evenly spaced.

    Raises:
        TargetError: if a group has no score by the criterion.
    """

    def __init__(
        self,
        model: nn.Module,
        weights: Mapping[str, Tensor],
        groups: Sequence[Group],
        *,
        criterion: Criterion,
        reduce: Reduce = "sum",
        examples: Sequence[ExampleInputs] = (),
        widened: Callable[[str, Tensor], Tensor] = lambda name, scores: scores,
    ) -> None:
        self._groups, self._widened = tuple(groups), widened
        self._criterion = criterion
        self._reduce = reduce
        names = criterion.reads.observable(model, criterion.scored(model, list(weights)))
        self._weights = {name: weight for name, weight in weights.items() if name in names}
        self._check_scored()
        self.sample: tuple[Tensor, ...] = ()
        units = {group.name: group.units for group in groups}
        self.evidence = criterion.reads(
            Subject(model, self._weights, criterion, self._unit_scores, units, examples)
        )

    def weights_without_optimizer(self, stepped: Collection[int]) -> list[str]:
        """Return the names of the weights whose scores stay zero, as no optimizer steps on them.

        Frozen ones, which follow others, are not among them.

        Args:
            stepped: ids of the parameters that some optimizer steps on.
        """
        if not self._criterion.reads.of_optimizers:
            return []
        trained = {name: weight for name, weight in self._weights.items() if weight.requires_grad}
        return [name for name, weight in trained.items() if id(weight) not in stepped]

    @torch.no_grad()
    def scores(self) -> list[Tensor]:
        """Return the scores of each group's units, each of shape ``[units]``.

        Of sharded single weights, each rank returns its part, flat.

        Raises:
            TargetError: if there are none, or some are not finite.
        """
        if not self.evidence.ready:
            raise TargetError(
                f"Expected finite {self.evidence.name} other than zero before an update by "
                f"`{self._criterion}`, but got none since the last one. Check the batches, and "
                "the loss for NaN."
            )
        scores = self.evidence.scores()
        totals = torch.stack([score.sum() for score in scores])
        if not sum_over_ranks(totals, next(iter(self._weights.values()))).isfinite().all():
            raise TargetError(
                "Expected the weights to be finite, but got NaN or infinity. The training has "
                "diverged before the update; nothing was pruned."
            )
        self.sample = tuple(every_nth(score).clone() for score in scores)
        return scores

    def state_dict(self) -> dict[str, Any] | None:
        """Return what was seen since the last update, ``None`` if nothing was."""
        return self.evidence.state_dict()

    def load_state_dict(self, state: dict[str, Any] | None) -> None:
        """Take over what `state_dict` returned for the same groups and criterion."""
        self.evidence.load_state_dict(state)

    def adopt(self, other: Scorer) -> None:
        """Take over what a scorer of the same model has seen of the same groups; it stops."""
        other.evidence.stop()
        self.evidence.adopt(other.evidence)

    def _unit_scores(self, scores: Mapping[str, Tensor]) -> list[Tensor]:
        """Make unit scores of the scores of weights."""
        criterion = self._criterion
        # Single weights stay where they are; what several ranks hold of a unit is added up.
        if not all(group.single_weights for group in self._groups):
            scores = {name: join_like(s, self._weights[name]) for name, s in scores.items()}
        scores = {name: self._widened(name, s) for name, s in scores.items()}
        if criterion.whole_units:
            return [
                criterion.score_units(unit_rows(group, scores, criterion.sides))
                for group in self._groups
            ]
        return [unit_scores(group, scores, self._reduce, criterion.sides) for group in self._groups]

    def _check_scored(self) -> None:
        """Refuse groups without a score: they could not be compared with the others.

        Raises:
            TargetError: if there is one.
        """
        criterion = self._criterion
        unscored = [
            group.name
            for group in self._groups
            if not scored_members(group, self._weights, criterion.sides)
            or (group.single_weights and not criterion.single_weights)
        ]
        if unscored:
            raise TargetError(
                f"Expected `{self._criterion}` to score every group, but got no score of "
                f"{', '.join(unscored)}. Exclude these modules, or choose another criterion."
            )


def every_nth(values: Tensor) -> Tensor:
    """Return the values of the units of which `Scorer.sample` holds the scores.

    Args:
        values: of all units of a group, shape ``[units]``.
    """
    n = -(-len(values) // _SAMPLED)
    return values[::n] if n else values
