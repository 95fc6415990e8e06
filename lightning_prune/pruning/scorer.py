"""The scorer: scores of units, gathered while a model trains or read off its weights.

It writes to no weight and knows no masks.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from lightning_prune.compaction.remaining import Remaining
from lightning_prune.criteria.base import Criterion
from lightning_prune.criteria.evidence.base import Subject
from lightning_prune.errors import TargetError
from lightning_prune.modules.inputs import ExampleInputs
from lightning_prune.modules.shards import is_sharded, join_like, local, sum_over_ranks
from lightning_prune.modules.tiles import Piece, pieces_of
from lightning_prune.units.group import Axis, Group
from lightning_prune.units.scores import (
    Reduce,
    scored_members,
    unit_rows,
    unit_scores,
    unit_sums,
)

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
        remaining: returns what the model has of the size that the groups are of.

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
        remaining: Callable[[], Remaining] = Remaining,
    ) -> None:
        self._groups, self._remaining = tuple(groups), remaining
        self._criterion = criterion
        self._reduce = reduce
        names = criterion.reads.observable(model, criterion.scored(model, list(weights)))
        self._weights = {name: weight for name, weight in weights.items() if name in names}
        self._check_scored()
        self.sample: tuple[Tensor, ...] = ()
        units = {group.name: group.units for group in groups}
        axes = self._axes()
        sums = self._unit_sums if axes else None
        self.evidence = criterion.reads(
            Subject(model, self._weights, criterion, self._unit_scores, units, examples, axes, sums)
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
        self._check_ready()
        scores = self.evidence.scores()
        self._check_finite(torch.stack([score.sum() for score in scores]))
        self.sample = tuple(every_nth(score).clone() for score in scores)
        return scores

    @torch.no_grad()
    def weight_scores(self) -> Callable[[Piece], Tensor]:
        """Return what gives the scores of single weights, a piece at a time, flat.

        Of sharded weights it gives those of this rank's part.

        Raises:
            TargetError: if there are none, or some are not finite.
        """
        self._check_ready()
        scores = self.evidence.weight_scores()
        weights = [local(weight) for weight in self._weights.values()]
        sampled: list[list[Tensor]] = [[] for _ in weights]
        totals = []
        for piece in pieces_of(weights):
            found = scores(piece)
            totals.append(found.sum().view(1))
            n = step_of(weights[piece.index].numel())
            sampled[piece.index].append(found[-piece.offset % n :: n].clone())
        nothing = torch.zeros(1, device=weights[0].device)
        self._check_finite(torch.cat([nothing, *totals]).sum())
        self.sample = tuple(torch.cat([nothing[:0], *parts]) for parts in sampled)
        return scores

    def _check_ready(self) -> None:
        """Refuse to score what nothing was seen of."""
        if not self.evidence.ready:
            raise TargetError(
                f"Expected finite {self.evidence.name} other than zero before an update by "
                f"`{self._criterion}`, but got none since the last one. Check the batches, and "
                "the loss for NaN."
            )

    def _check_finite(self, totals: Tensor) -> None:
        """Refuse scores that do not add up to numbers."""
        like = next(iter(self._weights.values()))
        if not sum_over_ranks(totals, like).isfinite().all():
            raise TargetError(
                "Expected the weights to be finite, but got NaN or infinity. The training has "
                "diverged before the update; nothing was pruned."
            )

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
        remaining = self._remaining()
        scores = {name: remaining.widened(name, s) for name, s in scores.items()}
        if criterion.whole_units:
            return [
                criterion.score_units(unit_rows(group, scores, criterion.sides))
                for group in self._groups
            ]
        return [unit_scores(group, scores, self._reduce, criterion.sides) for group in self._groups]

    def _axes(self) -> tuple[Axis, ...]:
        """Return the axes along which scores may be summed as they are read, if they may."""
        members = [
            member
            for group in self._groups
            for member in scored_members(group, self._weights, self._criterion.sides)
        ]
        single = any(member.axis.dim < 0 for member in members)
        sharded = is_sharded(next(iter(self._weights.values())))
        if single or sharded or self._reduce not in {"sum", "mean"} or self._criterion.whole_units:
            return ()
        # One for each weight: its scores are part of the sum over all.
        others = self._weights.keys() - {member.axis.tensor for member in members}
        axes = [member.axis for member in members]
        return tuple(dict.fromkeys([*axes, *(Axis(name, 0) for name in sorted(others))]))

    def _unit_sums(self, lines: Mapping[Axis, Tensor]) -> list[Tensor]:
        """Make unit scores of scores that are summed along axes."""
        remaining = self._remaining()
        shapes = {name: weight.shape for name, weight in self._weights.items()}
        wide = {a: remaining.widened_line(a, line, shapes[a.tensor]) for a, line in lines.items()}
        full = {name: remaining.full_shape(name, shape) for name, shape in shapes.items()}
        mean, sides = self._reduce == "mean", self._criterion.sides
        return [unit_sums(group, wide, full, mean=mean, sides=sides) for group in self._groups]

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
    return values[:: step_of(len(values))]


def step_of(units: int) -> int:
    """Return how far apart the units lie of which there are samples."""
    return max(-(-units // _SAMPLED), 1)
