"""The pruner: accumulate, score, allocate, mask; then keep masked weights at zero.

It works on any module and knows no trainer: whoever trains calls `Pruner.accumulate` before an
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
from lightning_prune.cost import Of, check_reachable, cost_of, units_to_remove
from lightning_prune.criteria.base import Criterion
from lightning_prune.errors import TargetError
from lightning_prune.masks import (
    comparable_scores,
    find_erased,
    keep_highest,
    parameter_masks,
    protect_best,
    unit_scores,
)
from lightning_prune.names import parameters_by_any_name, plain_name
from lightning_prune.pruning.accumulator import Accumulator, split_like
from lightning_prune.pruning.bits import pack, unpack
from lightning_prune.pruning.enforcement import Enforcement
from lightning_prune.pruning.report import PruningReport
from lightning_prune.pruning.state import VERSION, check_state
from lightning_prune.pruning.weights import weights_of
from lightning_prune.units import Group, GroupCount


class Pruner:
    """Masks over the units of a model, tightened from update to update.

    Args:
        model: any module; its parameters are changed in place.
        groups: the groups to prune.
        criterion: gives the scores.
        allocation: shares the sparsity among the groups.
        of: what the sparsity is a fraction of, counted over the given groups.
        prices: multiply-adds per element of each weight; needed for ``of="macs"``.
        left_alone: why other groups are not pruned, by name; for the report.

    Raises:
        ValueError: if ``prices`` are missing.
        TargetError: if there is no group.
    """

    def __init__(
        self,
        model: nn.Module,
        groups: Sequence[Group],
        *,
        criterion: Criterion,
        allocation: Allocation,
        of: Of = "parameters",
        prices: Mapping[str, float] | None = None,
        left_alone: Mapping[str, str] | None = None,
    ) -> None:
        self.groups = tuple(groups)
        self.of = of
        self._left_alone = dict(left_alone or {})
        if not self.groups:
            raise TargetError(_nothing_to_prune(self._left_alone))
        self._criterion = criterion
        self._allocation = allocation
        self._weights = weights_of(model, self.groups)
        self._shapes = {name: weight.shape for name, weight in self._weights.items()}
        self._cost = cost_of(of, self.groups, self._shapes, prices)
        self._kept = [torch.ones(g.units, dtype=torch.bool) for g in self.groups]
        self._reached = 0.0
        self._accumulator: Accumulator | None = None
        self._enforcement = Enforcement(self._weights, {})

    @property
    def sparsity(self) -> float:
        """The fraction removed so far, of what `of` says, in [0, 1)."""
        return self._reached

    @property
    def masks(self) -> dict[str, Tensor]:
        """Boolean masks, ``True`` = kept, of the parameters of which something is removed."""
        return self._enforcement.masks

    @property
    def kept(self) -> tuple[Tensor, ...]:
        """For each group a boolean tensor of shape ``[units]`` on the CPU, ``True`` = kept."""
        return tuple(self._kept)

    @property
    def ready(self) -> bool:
        """Whether an update has scores to go by. Synchronises with the device."""
        if not self._criterion.needs_gradients:
            return True
        return self._accumulator is not None and self._accumulator.ready

    def check_reachable(self, sparsity: float) -> None:
        """Refuse a sparsity that the groups cannot give.

        Raises:
            TargetError: if every group would lose its last unit before.
        """
        check_reachable(self._cost, sparsity)

    def accumulate(
        self,
        parameters: Iterable[Tensor] | None = None,
        grad_scale: float | Tensor | None = None,
    ) -> None:
        """Add the scores of one step, where the criterion needs gradients.

        Call it when gradients are final: accumulated, reduced over ranks, before clipping.

        Args:
            parameters: those whose gradients belong to this step, ``None`` = all.
            grad_scale: what the gradients were multiplied with, ``None`` = nothing.
        """
        if self._criterion.needs_gradients:
            if self._accumulator is None:
                self._accumulator = Accumulator(list(self._weights.values()), self._criterion)
            self._accumulator.add(parameters, grad_scale)

    def update(self, sparsity: float) -> PruningReport:
        """Remove the units of the lowest scores until ``sparsity`` is reached; start anew to score.

        What is removed stays removed; if that much is removed already, nothing changes.

        Args:
            sparsity: the fraction to have removed after this, not *more*, in [0, 1).

        Returns:
            What was reached.

        Raises:
            ValueError: if ``sparsity`` is outside its range.
            TargetError: if it is out of reach, or if there are no finite scores.
        """
        if not 0.0 <= sparsity < 1.0:
            raise ValueError(
                f"Expected `sparsity` to be a fraction in [0, 1), but got {sparsity}. It is the "
                "share removed, not the share kept."
            )
        if sparsity > self._reached:
            self._set(self._choose(sparsity))
        self._accumulator = None
        return self.report(sparsity)

    def release(self) -> None:
        """Let everything live again: what was removed trains on from zero."""
        self._set([torch.ones_like(kept) for kept in self._kept])

    def report(self, target: float) -> PruningReport:
        """Return what is reached by now, beside the ``target`` asked for."""
        pairs = zip(self.groups, self._kept, strict=True)
        counts = tuple(GroupCount(g.name, g.units, int((~k).count_nonzero())) for g, k in pairs)
        return PruningReport(target, self._reached, self.of, counts, self._left_alone)

    def enforce(self) -> None:
        """Zero what is masked in the weights; call it after every optimizer step."""
        self._enforcement.mask_weights()

    def mask_gradients(self) -> None:
        """Zero what is masked in the gradients, so that they do not count in a clipping norm."""
        self._enforcement.mask_gradients()

    def mask_optimizer_state(self, optimizer: Optimizer) -> None:
        """Zero what is masked in the state of an optimizer; call it after an update."""
        self._enforcement.mask_optimizer_state(optimizer)

    def binds(self, model: nn.Module) -> bool:
        """Return whether ``model`` still has the very parameters that this pruner masks."""
        parameters = parameters_by_any_name(model)
        return all(
            parameters.get(name) is weight and weight.shape == self._shapes[name]
            for name, weight in self._weights.items()
        )

    def fingerprint(self) -> int:
        """Return a checksum of the masks, by which ranks compare them."""
        return zlib.crc32(bytes(pack(torch.cat(self._kept)).tolist()))

    def mask_copy(self, model: nn.Module) -> None:
        """Zero what is masked in a copy of the model, such as an average of its weights.

        Args:
            model: a module with the parameters of the pruned one, by their names.
        """
        Enforcement(parameters_by_any_name(model), self.masks).mask_weights()

    def adopt(self, other: Pruner) -> None:
        """Take over masks and scores of a pruner of the same model that knew fewer groups.

        Args:
            other: the pruner to go on from.
        """
        before = {group.name: kept for group, kept in zip(other.groups, other.kept, strict=True)}
        self._set(
            [before.get(g.name, kept) for g, kept in zip(self.groups, self._kept, strict=True)]
        )
        if other._accumulator is not None:
            self._accumulator = Accumulator(list(self._weights.values()), self._criterion)
            self._accumulator.adopt(other._accumulator)

    def state_dict(self) -> dict[str, Any]:
        """Return the masks as packed bits and the scores of the open window."""
        return {
            "version": VERSION,
            "groups": [plain_name(group.name) for group in self.groups],
            "units": [group.units for group in self.groups],
            "kept": [pack(kept) for kept in self._kept],
            "scores": None if self._accumulator is None else self._accumulator.state_dict(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take over masks and scores, and zero what is masked.

        Args:
            state: what `state_dict` returned for the same groups.

        Raises:
            ValueError: if it is of other groups or of another version.
        """
        check_state(state, self.groups)
        pairs = zip(state["kept"], state["units"], strict=True)
        self._set([unpack(kept.cpu(), units) for kept, units in pairs])
        self._accumulator = None
        if state["scores"] is not None:
            self._accumulator = Accumulator(list(self._weights.values()), self._criterion)
            self._accumulator.load_state_dict(state["scores"])

    @torch.no_grad()
    def _choose(self, sparsity: float) -> list[Tensor]:
        """Return which units to keep, on the CPU."""
        scores = self._scores()
        erased = find_erased(self.groups, self._weights)
        dead = [~kept.to(e.device) | e for kept, e in zip(self._kept, erased, strict=True)]
        units = [
            comparable_scores(group, unit_scores(group, scores), gone)
            for group, gone in zip(self.groups, dead, strict=True)
        ]
        priorities = self._allocation.priorities(_bury(units, dead))
        priorities = protect_best(_bury(priorities, dead))
        remove = units_to_remove(self._cost, priorities, sparsity)
        chosen = keep_highest(priorities, remove)
        # Where all of a group was erased, one unit is protected that may have been removed before.
        return [new.cpu() & old for new, old in zip(chosen, self._kept, strict=True)]

    def _scores(self) -> dict[str, Tensor]:
        """Return a score for every element of the weights, by name."""
        weights = list(self._weights.values())
        if not self._criterion.needs_gradients:
            flat = torch.empty(sum(w.numel() for w in weights), device=weights[0].device)
            scores = split_like(flat, weights)
            self._criterion.write(scores, weights, [])
        elif self._accumulator is not None and self._accumulator.ready:
            scores = self._accumulator.mean()
        else:
            raise TargetError(
                f"Expected a finite gradient other than zero before an update by "
                f"`{self._criterion}`, but got none since the last one. Check the batches, and "
                "the loss for NaN."
            )
        if not torch.stack([s.sum() for s in scores]).isfinite().all():
            raise TargetError(
                "Expected the weights to be finite, but got NaN or infinity. The training has "
                "diverged before the update; nothing was pruned."
            )
        return dict(zip(self._weights, scores, strict=True))

    def _set(self, kept: list[Tensor]) -> None:
        """Make these the masks, and zero what they mask."""
        device = next(iter(self._weights.values())).device
        masks = parameter_masks(self.groups, kept, self._shapes, device)
        self._kept = kept
        self._reached = (
            self._cost.removed([int((~k).count_nonzero()) for k in kept]) / self._cost.prunable
        )
        self._enforcement = Enforcement(self._weights, masks)
        self.enforce()


def _bury(scores: Sequence[Tensor], dead: Sequence[Tensor]) -> list[Tensor]:
    """Return scores with -inf where a unit is dead, so that it is removed first."""
    return [s.masked_fill(d.to(s.device), -torch.inf) for s, d in zip(scores, dead, strict=True)]


def _nothing_to_prune(left_alone: Mapping[str, str]) -> str:
    """Return the message for a model without a group to prune."""
    reasons = "; ".join(f"{name}: {reason}" for name, reason in left_alone.items())
    return (
        "Expected the model to have something to prune, but got no group "
        f"({reasons or 'none was found'}). Widen `include`, narrow `exclude`, or unfreeze "
        "parameters; `print(couple(model, example_inputs))` says what cannot be removed and why."
    )
