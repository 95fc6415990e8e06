"""The scorer: scores of units, gathered while a model trains or read off its weights.

It reads weights, gradients and activations, and writes to none of them; it knows no masks.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from lightning_prune.criteria.base import Criterion
from lightning_prune.errors import TargetError
from lightning_prune.modules.inputs import ExampleInputs
from lightning_prune.modules.names import plain_name
from lightning_prune.modules.shards import join_like, local, sum_over_ranks
from lightning_prune.pruning.scoring.accumulator import Accumulator, split_like
from lightning_prune.pruning.scoring.flow import flow_gradients
from lightning_prune.pruning.scoring.observer import Observer, observable
from lightning_prune.units.group import Group
from lightning_prune.units.scores import Reduce, scored_members, unit_rows, unit_scores


class Scorer:
    """Scores of the units of groups by one criterion.

    Args:
        model: the module that the groups are of.
        weights: the parameters on which their units lie, by name.
        groups: the groups.
        criterion: gives the scores.
        reduce: how scores of weights become those of units.
        examples: example inputs, where the criterion needs some.

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
    ) -> None:
        self._model = model
        self._groups = tuple(groups)
        self._criterion = criterion
        self._reduce = reduce
        self._examples = examples
        names = criterion.scored(model, list(weights))
        observed: dict[str, nn.Module] = {}
        if criterion.reads == "activations":
            modules = observable(model)
            # In the order of the weights, which is that of every rank; a set's is not.
            observed = {
                n: modules[plain_name(n)]
                for n in weights
                if n in names and plain_name(n) in modules
            }
            names = set(observed)
        self._weights = {name: weight for name, weight in weights.items() if name in names}
        self._check_scored()
        self._observer = Observer(observed, criterion.observe)
        self._accumulator: Accumulator | None = None

    @property
    def ready(self) -> bool:
        """Whether there are scores. Synchronises with the device."""
        if self._criterion.reads == "activations":
            return self._observer.ready
        if self._criterion.averaged:
            return self._accumulator is not None and self._accumulator.ready
        return True

    @property
    def started(self) -> bool:
        """Whether anything was offered since the last update, be it finite or not."""
        return self._accumulator is not None or self._criterion.reads == "activations"

    def weights_without_optimizer(self, stepped: Collection[int]) -> list[str]:
        """Return the names of the weights whose scores stay zero, as no optimizer steps on them.

        Frozen ones, which follow others, are not among them.

        Args:
            stepped: ids of the parameters that some optimizer steps on.
        """
        if self._criterion.reads not in {"gradients", "curvature"}:
            return []
        trained = {name: weight for name, weight in self._weights.items() if weight.requires_grad}
        return [name for name, weight in trained.items() if id(weight) not in stepped]

    def start(self, *, only_training: bool) -> None:
        """Begin to observe activations, if the criterion reads them.

        Args:
            only_training: look at forward passes in training mode only.
        """
        if self._criterion.reads == "activations":
            self._observer.start(only_training=only_training)

    def stop(self) -> None:
        """Take every hook off the model; what was observed stays."""
        self._observer.stop()

    def accumulate(
        self, parameters: Iterable[Tensor] | None, grad_scale: float | Tensor | None
    ) -> None:
        """Add the scores of one step, read off the gradients, if the criterion reads them.

        Args:
            parameters: those whose gradients belong to this step, ``None`` = all.
            grad_scale: what the gradients were multiplied with, ``None`` = nothing.
        """
        if self._criterion.reads in {"gradients", "curvature"}:
            if self._accumulator is None:
                self._accumulator = self._new_accumulator()
            self._accumulator.add(parameters, grad_scale)

    def reduce(self, add_up: Callable[[Tensor], Tensor]) -> None:
        """Add up over ranks what each has seen of its own data.

        Gradients are equal on all ranks when they are read; activations are not.

        Args:
            add_up: returns the sum of a tensor over all ranks.
        """
        if self._criterion.reads == "activations":
            self._observer.reduce(add_up)

    def reset(self) -> None:
        """Forget every step."""
        self._accumulator = None
        self._observer.reset()

    @torch.no_grad()
    def scores(self) -> list[Tensor]:
        """Return the scores of each group's units, each of shape ``[units]``.

        Of sharded single weights, each rank returns its part, flat.

        Raises:
            TargetError: if there are none, or some are not finite.
        """
        if not self.ready:
            what = "batch" if self._criterion.reads == "activations" else "gradient"
            raise TargetError(
                f"Expected a finite {what} other than zero before an update by "
                f"`{self._criterion}`, but got none since the last one. Check the batches, and "
                "the loss for NaN."
            )
        if self._accumulator is not None and self._criterion.whole_units:
            scores = self._accumulator.mean()
        else:
            scores = self._unit_scores(self._weight_scores())
        totals = torch.stack([score.sum() for score in scores])
        if not sum_over_ranks(totals, next(iter(self._weights.values()))).isfinite().all():
            raise TargetError(
                "Expected the weights to be finite, but got NaN or infinity. The training has "
                "diverged before the update; nothing was pruned."
            )
        return scores

    def state_dict(self) -> dict[str, Any] | None:
        """Return what was seen since the last update, ``None`` if nothing was."""
        if self._criterion.reads == "activations":
            return self._observer.state_dict()
        return None if self._accumulator is None else self._accumulator.state_dict()

    def load_state_dict(self, state: dict[str, Any] | None) -> None:
        """Take over what `state_dict` returned for the same groups and criterion."""
        self.reset()
        if state is None:
            return
        if self._criterion.reads == "activations":
            self._observer.load_state_dict(state)
        else:
            self._accumulator = self._new_accumulator()
            self._accumulator.load_state_dict(state)

    def adopt(self, other: Scorer) -> None:
        """Take over what a scorer of the same model has seen of the same groups; it stops."""
        other.stop()
        self._observer.adopt(other._observer)
        if other._accumulator is not None:
            self._accumulator = self._new_accumulator()
            self._accumulator.adopt(other._accumulator)

    def _weight_scores(self) -> dict[str, Tensor]:
        """Return a score for every element of the weights that have some, by name."""
        weights = list(self._weights.values())
        if self._accumulator is not None:
            return dict(zip(self._weights, self._accumulator.mean(), strict=True))
        weights = [local(w) for w in weights]
        flat = torch.empty(sum(w.numel() for w in weights), device=weights[0].device)
        scores = split_like(flat, weights)
        self._criterion.write(scores, weights, self._observed())
        return dict(zip(self._weights, scores, strict=True))

    def _observed(self) -> list[Tensor]:
        """Return what the criterion reads in addition to weights, one tensor for each of them."""
        if self._criterion.reads == "activations":
            means = self._observer.means()
            return [means[name] for name in self._weights]
        if self._criterion.reads == "flow" and self._examples:
            flow = flow_gradients(self._model, self._examples, list(self._weights))
            return [flow[name] for name in self._weights]
        return []

    def _unit_scores(self, scores: Mapping[str, Tensor]) -> list[Tensor]:
        """Make unit scores of the scores of weights."""
        criterion = self._criterion
        # Single weights stay where they are; what several ranks hold of a unit is added up.
        if not all(group.single_weights for group in self._groups):
            scores = {name: join_like(s, self._weights[name]) for name, s in scores.items()}
        if criterion.whole_units:
            return [
                criterion.score_units(unit_rows(group, scores, criterion.sides))
                for group in self._groups
            ]
        return [unit_scores(group, scores, self._reduce, criterion.sides) for group in self._groups]

    def _new_accumulator(self) -> Accumulator:
        """Return an accumulator over weights, or over units where they are scored as wholes."""
        weights = list(self._weights.values())
        if not self._criterion.whole_units:
            return Accumulator(weights, self._criterion)

        def fold(views: Sequence[Tensor]) -> list[Tensor]:
            return self._unit_scores(dict(zip(self._weights, views, strict=True)))

        return Accumulator(weights, self._criterion, fold, {g.name: g.units for g in self._groups})

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
