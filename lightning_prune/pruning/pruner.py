"""The pruner: accumulate, score, allocate, mask; then keep masked weights at zero.

It works on any module and knows no trainer: a training loop calls `Pruner.accumulate` before an
optimizer step, `Pruner.enforce` after it, and `Pruner.update` when the schedule says so. It zeroes
in place; shapes and names never change.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from lightning_prune.allocations.base import Allocation
from lightning_prune.arguments import check_sparsity
from lightning_prune.criteria import Criterion, Gradient
from lightning_prune.errors import TargetError
from lightning_prune.granularities import Channel, Granularity
from lightning_prune.modules.gathering import reshard
from lightning_prune.modules.inputs import ExampleInputs
from lightning_prune.modules.names import parameters_by_any_name, plain_name
from lightning_prune.modules.shards import is_sharded
from lightning_prune.pruning.bits import pack, unpack
from lightning_prune.pruning.checks import check_regrows
from lightning_prune.pruning.choosing.choice import choose
from lightning_prune.pruning.choosing.ranking import floors, removal_priorities
from lightning_prune.pruning.choosing.regrowth import exchange
from lightning_prune.pruning.choosing.selection import nothing_to_prune
from lightning_prune.pruning.choosing.sharded_choice import check_sharded, choose_shards
from lightning_prune.pruning.enforcement import Enforcement
from lightning_prune.pruning.release import restart
from lightning_prune.pruning.report import PruningReport, report_of
from lightning_prune.pruning.scoring.scorer import Scorer
from lightning_prune.pruning.state import VERSION, check_groups_match
from lightning_prune.pruning.weights import binds, weights_of
from lightning_prune.units.cost import Of, check_reachable, cost_of
from lightning_prune.units.group import Group
from lightning_prune.units.masks import find_erased, parameter_masks


class Pruner:
    """Masks over the units of a model; every update removes more.

    Args:
        model: any module; its parameters are changed in place.
        groups: the groups to prune.
        criterion: gives the scores.
        allocation: shares the sparsity among the groups.
        granularity: what the units are, and what must hold for them.
        of: what the sparsity is a fraction of, counted over the given groups.
        prices: multiply-adds per element of each weight; needed for ``of="macs"``.
        examples: example inputs, for criteria that need some.
        left_alone: why other groups are not pruned, by name; for the report.
        unused: names of the parameters that no example runs; for the report.
        regrows: removed units may grow again, by their gradients.

    Attributes:
        groups: the groups to prune.
        scorer: gathers the scores.
        weights: the parameters on which the units lie, by name.

    Raises:
        ValueError: if ``prices`` are missing, or units could not regrow.
        TargetError: if there is no group, or one without a score by the criterion.
    """

    def __init__(
        self,
        model: nn.Module,
        groups: Sequence[Group],
        *,
        criterion: Criterion,
        allocation: Allocation,
        granularity: Granularity = Channel(),  # noqa: B008 (frozen)
        of: Of = "parameters",
        prices: Mapping[str, float] | None = None,
        examples: Sequence[ExampleInputs] = (),
        left_alone: Mapping[str, str] | None = None,
        unused: Sequence[str] = (),
        regrows: bool = False,
    ) -> None:
        self.groups = tuple(groups)
        self._model = model
        self.of = of
        self._left_alone, self.unused = dict(left_alone or {}), tuple(unused)
        if not self.groups:
            raise TargetError(nothing_to_prune(self._left_alone))
        self._criterion = criterion
        self._allocation = allocation
        self._granularity = granularity
        self._floors = floors(self.groups, granularity, allocation)
        self.weights = weights_of(model, self.groups)
        self._sharded = is_sharded(next(iter(self.weights.values())))
        self._shapes = {name: weight.shape for name, weight in self.weights.items()}
        self._cost = cost_of(of, self.groups, self._shapes, prices)
        if self._sharded:
            check_sharded(self.groups, criterion, granularity, allocation, self._cost, regrows)
        self._unit_masks = [torch.ones(g.units, dtype=torch.bool) for g in self.groups]
        self._reached = 0.0
        self.scorer = Scorer(
            model,
            self.weights,
            self.groups,
            criterion=criterion,
            reduce=granularity.rules.reduce,
            examples=examples,
        )
        self._growth: Scorer | None = None
        if regrows:
            check_regrows(granularity)
            self._growth = Scorer(model, self.weights, self.groups, criterion=Gradient())
        self._enforcement = Enforcement(self.weights, {})

    @property
    def sparsity(self) -> float:
        """The fraction removed so far, of what `of` says, in [0, 1)."""
        return self._reached

    @property
    def masks(self) -> dict[str, Tensor]:
        """Boolean masks, ``True`` = kept, of the parameters of which something is removed."""
        return self._enforcement.masks

    @property
    def unit_masks(self) -> tuple[Tensor, ...]:
        """For each group a boolean tensor of shape ``[units]`` on the CPU, ``True`` = kept."""
        return tuple(self._unit_masks)

    @property
    def ready(self) -> bool:
        """Whether there are scores for an update. Synchronises with the device."""
        return self.scorer.ready

    def check_reachable(self, sparsity: float) -> None:
        """Refuse a sparsity before which every group is at its bound, by a `TargetError`."""
        most = [g.units - floor for g, floor in zip(self.groups, self._floors, strict=True)]
        check_reachable(self._cost, sparsity, self._cost.removed(most))

    def accumulate(
        self,
        parameters: Iterable[Tensor] | None = None,
        grad_scale: float | Tensor | None = None,
    ) -> None:
        """Add the scores of one step, where the criterion reads gradients.

        Call it when gradients are final: accumulated, reduced over ranks, before clipping.

        Args:
            parameters: those whose gradients belong to this step, ``None`` = all.
            grad_scale: what the gradients were multiplied with, ``None`` = nothing.
        """
        for scorer in self._scorers:
            scorer.accumulate(parameters, grad_scale)

    def update(self, sparsity: float, share: float = 0.0) -> PruningReport:
        """Remove the units of the lowest scores until ``sparsity`` is reached; forget all scores.

        What is removed stays removed, except in the exchange; if that much is removed already,
        nothing changes.

        Args:
            sparsity: the fraction to have removed after this, not *more*, in [0, 1).
            share: of the kept units, to be exchanged for removed ones, in [0, 1).

        Returns:
            What was reached.

        Raises:
            ValueError: if ``sparsity`` is outside its range.
            TargetError: if it is out of reach, or if there are no finite scores.
        """
        check_sparsity(sparsity)
        reshard(self._model)
        before, rounds = self._reached, self._criterion.rounds
        for done in range(1, rounds + 1 if sparsity > before else 1):
            # Every round removes the same fraction of what remains.
            left = (1 - before) ** (1 - done / rounds) * (1 - sparsity) ** (done / rounds)
            level = sparsity if done == rounds else 1 - left
            if level > self._reached:
                self._set(self.preview(level))
        if share and self._growth is not None:
            scores, growth = self.scorer.scores(), self._growth.scores()
            self._set(exchange(self._unit_masks, scores, growth, share))
        for scorer in self._scorers:
            scorer.reset()
        return self.report(sparsity)

    def release(self) -> None:
        """Take all masks away: what was removed starts again from small random values."""
        masks, seed = self.masks, self.fingerprint()
        self._set([torch.ones_like(mask) for mask in self._unit_masks])
        restart(self.weights, masks, seed)

    def report(self, target: float) -> PruningReport:
        """Return what is reached, with the ``target`` asked for."""
        base = PruningReport(target, self._reached, self.of, (), self._left_alone, (), self.unused)
        return report_of(base, self.groups, self._unit_masks, self._floors)

    def enforce(self, parameters: Iterable[Tensor] | None = None) -> None:
        """Zero what is masked in the weights among ``parameters``, ``None`` = in all of them.

        Call it after every step with those of the optimizer: others may be in a graph still.
        """
        self._enforcement.mask_weights(parameters)

    def clear(self, state: Mapping[str, Tensor] | None = None) -> dict[str, int]:
        """Zero what is masked, in a state dict if one is given. Synchronises with the device.

        Returns:
            How many of it were finite and not zero, by name.
        """
        enforcement = self._enforcement if state is None else self._enforcement.on(state)
        return enforcement.clear_weights()

    def mask_gradients(self) -> None:
        """Zero what is masked in the gradients, so that they do not count in a clipping norm."""
        self._enforcement.mask_gradients()

    def mask_optimizer_state(self, optimizer: Optimizer) -> None:
        """Zero what is masked in the state of an optimizer; call it after an update."""
        self._enforcement.mask_optimizer_state(optimizer)

    def binds(self, model: nn.Module) -> bool:
        """Return whether ``model`` still has the very parameters that this pruner masks."""
        return binds(model, self.weights, self._shapes)

    def fingerprint(self) -> int:
        """Return a checksum of the masks, by which ranks compare them."""
        return zlib.crc32(bytes(pack(torch.cat(self._unit_masks)).tolist()))

    def mask_copy(self, model: nn.Module) -> None:
        """Zero what is masked in a copy of the model, such as an average of its weights."""
        self._enforcement.on(parameters_by_any_name(model)).mask_weights()

    def adopt(self, other: Pruner) -> None:
        """Take over masks and scores of a pruner of the same model that knew fewer groups."""
        pairs = zip(other.groups, other.unit_masks, strict=True)
        theirs = {group.name: mask for group, mask in pairs}
        pairs = zip(self.groups, self._unit_masks, strict=True)
        self._set([theirs.get(group.name, mask) for group, mask in pairs])
        for scorer, known in zip(self._scorers, other._scorers, strict=True):
            scorer.adopt(known)

    def state_dict(self) -> dict[str, Any]:
        """Return the masks as packed bits and the scores of the open window."""
        return {
            "version": VERSION,
            "groups": [plain_name(group.name) for group in self.groups],
            "units": [group.units for group in self.groups],
            "kept": [pack(mask) for mask in self._unit_masks],
            "scores": [scorer.state_dict() for scorer in self._scorers],
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take over masks and scores of the same groups, else raise a `ValueError`."""
        check_groups_match(state, self.groups)
        pairs = zip(state["kept"], state["units"], strict=True)
        self._set([unpack(packed.cpu(), units) for packed, units in pairs])
        for scorer, held in zip(self._scorers, state["scores"], strict=True):
            scorer.load_state_dict(held)

    @property
    def _scorers(self) -> list[Scorer]:
        """The scorers by which units are removed, and by which they grow."""
        return [self.scorer] if self._growth is None else [self.scorer, self._growth]

    @torch.no_grad()
    def preview(self, sparsity: float) -> list[Tensor]:
        """Return which units an update would keep now, on the CPU; nothing changes."""
        scores = self.scorer.scores()
        if self._sharded and self.groups[0].single_weights:
            return choose_shards(
                scores, self._unit_masks, list(self.weights.values()), self._cost, sparsity
            )
        erased = find_erased(self.groups, self.weights)
        dead = [~mask.to(e.device) | e for mask, e in zip(self._unit_masks, erased, strict=True)]
        priorities = removal_priorities(
            self.groups, scores, dead, self._shapes, self._granularity, self._allocation
        )
        round_to = self._granularity.rules.round_to
        chosen = choose(priorities, self._cost, sparsity, self._floors, round_to)
        # Where all of a group was erased, one unit is protected that may have been removed before.
        return [new.cpu() & old for new, old in zip(chosen, self._unit_masks, strict=True)]

    def _set(self, unit_masks: list[Tensor]) -> None:
        """Make these the masks, and zero what they mask."""
        weight = next(iter(self.weights.values()))
        # Masks of sharded weights are whole, so they stay out of the accelerators' memory.
        device = torch.device("cpu") if self._sharded else weight.device
        masks = parameter_masks(self.groups, unit_masks, self._shapes, device)
        self._unit_masks = unit_masks
        removed = [int((~mask).count_nonzero()) for mask in unit_masks]
        self._reached = self._cost.removed(removed) / self._cost.prunable
        self._enforcement = Enforcement(self.weights, masks)
        self.enforce()
