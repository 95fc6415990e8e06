"""The accumulator: scores averaged over the optimizer steps between two mask updates.

It reads gradients and writes only its own buffers; it knows no masks. Adding a step neither
synchronises with the device nor allocates memory of the model's size.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from lightning_prune.modules.cpu_copies import cpu_copies
from lightning_prune.modules.flat import split_like
from lightning_prune.modules.shards import (
    is_sharded,
    join_like,
    local,
    shard_like,
    sum_over_ranks,
    whole,
)

if TYPE_CHECKING:
    from lightning_prune.criteria.base import Criterion

_TINY = torch.finfo(torch.float32).tiny


class Accumulator:
    """Scores summed over steps, all in one flat float32 buffer.

    A step whose scores are not all finite, as after an overflow of mixed precision, does not
    count; nor does one whose scores are all zero, by which no weight differs from another. The
    average of a weight is over the steps of its own optimizer only.

    Args:
        weights: the weights to score, all on one device.
        criterion: a criterion that reads gradients.
        fold: makes other scores of those of the weights in every step, before they are summed:
            those of units scored as wholes; ``None`` = sum those of the weights.
        sizes: how many scores ``fold`` returns in each of its tensors, by a name for each. Then
            every step counts for all of them.
    """

    def __init__(
        self,
        weights: Sequence[Tensor],
        criterion: Criterion,
        fold: Callable[[Sequence[Tensor]], Sequence[Tensor]] | None = None,
        sizes: Mapping[str, int] | None = None,
    ) -> None:
        self._weights = list(weights)
        self._criterion = criterion
        device = self._weights[0].device
        self._step = torch.zeros(sum(local(w).numel() for w in self._weights), device=device)
        self._fold = fold
        self._slots: dict[object, Tensor] = {id(w): local(w.detach()) for w in self._weights}
        if sizes is not None:
            self._slots = {name: torch.empty(n, device="meta") for name, n in sizes.items()}
        self._sum = torch.zeros(sum(s.numel() for s in self._slots.values()), device=device)
        self._steps = torch.zeros(len(self._slots), device=device)
        self._views = split_like(self._step, [local(w.detach()) for w in self._weights])
        self._offered: dict[tuple[int, ...], Tensor] = {}

    @property
    def ready(self) -> bool:
        """Whether any step was added that counts. Synchronises with the device."""
        return bool(self._steps.any())

    @torch.no_grad()
    def add(
        self,
        parameters: Iterable[Tensor] | None = None,
        grad_scale: float | Tensor | None = None,
    ) -> None:
        """Add the scores of one step, read off ``.grad``.

        A weight without a gradient scores zero.

        Args:
            parameters: look only at the weights among these, ``None`` = at all.
            grad_scale: what the gradients were multiplied with, ``None`` = nothing.
        """
        among = None if parameters is None else {id(p) for p in parameters}
        chosen = [i for i, w in enumerate(self._weights) if among is None or id(w) in among]
        present = [i for i in chosen if self._weights[i].grad is not None]
        if not present:
            return
        if len(present) < len(self._weights):
            self._step.zero_()
        weights = [self._weights[i] for i in present]
        self._criterion.write(
            [self._views[i] for i in present],
            [local(w) for w in weights],
            _gradients(weights, grad_scale),
        )
        step = self._step if self._fold is None else torch.cat(list(self._fold(self._views)))
        total = sum_over_ranks(step.sum(), self._weights[0])
        finite = total.isfinite()
        # Zero all bits of a step that is not finite: no branch waits for the device, and unlike
        # NaN * 0 the product is 0.
        step.view(torch.int32).mul_(finite.to(torch.int32))
        scale = (
            total.clamp_min(_TINY).reciprocal() if self._criterion.shares else total.new_ones(())
        )
        self._sum.addcmul_(step, scale.nan_to_num(0.0, posinf=0.0))
        # Scores may have a sign; that they add up to nothing means that all are zero.
        self._steps.add_(self._indicator(tuple(chosen)) * (finite & (total != 0)))

    def mean(self) -> list[Tensor]:
        """Return the average score over the steps that count, one tensor for each weight.

        Where the scores are folded, one tensor for each that the fold returns.
        """
        sums = split_like(self._sum, list(self._slots.values()))
        return list(torch._foreach_div(sums, list(self._steps.clamp_min(1.0))))

    def state_dict(self) -> dict[str, Tensor]:
        """Return the sums, of all ranks, and the numbers of steps, copied to the CPU."""
        total = self._sum
        if is_sharded(self._weights[0]):
            pieces = zip(split_like(total, list(self._slots.values())), self._weights, strict=True)
            total = torch.cat([whole(join_like(p, w)).cpu().flatten() for p, w in pieces])
        return cpu_copies({"sum": total, "steps": self._steps})

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Take over what `state_dict` returned for the same weights."""
        total = state["sum"]
        if is_sharded(self._weights[0]):
            pieces = zip(split_like(total, self._weights), self._weights, strict=True)
            total = torch.cat([shard_like(p, w).flatten() for p, w in pieces])
        self._sum.copy_(total)
        self._steps.copy_(state["steps"])

    def adopt(self, other: Accumulator) -> None:
        """Take over the scores of what another accumulator knows, too."""
        theirs = {
            key: (total, other._steps[i])
            for i, (key, total) in enumerate(
                zip(other._slots, split_like(other._sum, list(other._slots.values())), strict=True)
            )
        }
        mine = split_like(self._sum, list(self._slots.values()))
        for i, (key, view) in enumerate(zip(self._slots, mine, strict=True)):
            if key in theirs:
                total, self._steps[i] = theirs[key]
                view.copy_(total)

    def _indicator(self, chosen: tuple[int, ...]) -> Tensor:
        """Return 1 for each slot to which the step adds, else 0; made once, as copying waits."""
        if chosen not in self._offered:
            flags = torch.zeros(len(self._slots))
            flags[slice(None) if self._fold else list(chosen)] = 1.0
            self._offered[chosen] = flags.to(self._steps.device)
        return self._offered[chosen]


def _gradients(weights: Sequence[Tensor], scale: float | Tensor | None) -> list[Tensor]:
    """Return the gradients of weights that all have one, unscaled and none in a sparse layout."""
    gradients = [
        w.grad.to_dense() if w.grad.is_sparse else local(w.grad)
        for w in weights
        if w.grad is not None
    ]
    return gradients if scale is None else list(torch._foreach_div(gradients, scale))
