"""Enforcement: keeps masked elements of weights, gradients and optimizer state at zero.

It multiplies in place and decides nothing. Zeroing weights once is not enough: momentum and Adam
change all of them again, even where gradients are masked, as long as their state is not.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, reduce

import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.utils._pytree import tree_leaves

from lightning_prune.modules.shards import local, shard_like
from lightning_prune.modules.tiles import Piece, pieces_of
from lightning_prune.pruning.still_zero import StillZero
from lightning_prune.units.weight_mask import WeightMask

log = logging.getLogger(__name__)


class Enforcement:
    """Masks bound to weights.

    On a CPU a weight is multiplied a few rows at a time, which stay in the cache, by factors along
    its axes; beside the weight they are small. Other devices multiply it by a factor for each of
    its elements, as there a kernel takes longer to start than to read them.

    Of sharded weights each rank masks its part.

    Args:
        weights: parameters, by name.
        masks: masks of some of them, by name.
    """

    def __init__(self, weights: Mapping[str, Tensor], masks: Mapping[str, WeightMask]) -> None:
        self.masks = dict(masks)
        self._weights = [weights[name] for name in self.masks]
        self._factors: list[list[_Rows]] = []
        self._bound_to: tuple[torch.device, torch.dtype] | None = None
        self._still_zero = StillZero()

    @classmethod
    def of(cls, tensors: Mapping[str, Tensor], masks: Mapping[str, WeightMask]) -> Enforcement:
        """Bind masks to tensors, those of a name and a shape that they know."""
        known = {n: m for n, m in masks.items() if n in tensors and tensors[n].shape == m.shape}
        return cls(tensors, known)

    @torch.no_grad()
    def mask_weights(self, parameters: Iterable[Tensor] | None = None) -> None:
        """Zero the masked elements of the weights.

        Args:
            parameters: only weights among these are written to, ``None`` = all.
        """
        among = None if parameters is None else {id(parameter) for parameter in parameters}
        chosen = [
            (weight, rows)
            for weight, rows in zip(self._weights, self._bound_factors(), strict=True)
            if among is None or id(weight) in among
        ]
        _multiply([(local(weight), rows) for weight, rows in chosen])
        if among is None and chosen:  # not after every step: products leave negative zeros,
            torch._foreach_add_([local(weight) for weight, _ in chosen], 0.0)  # which files tell
        self._still_zero.trust(weight for weight, _ in chosen)

    def holds(self, weight: Tensor) -> bool:
        """Return whether nobody has written to a weight since it was masked, as far as known."""
        return self._still_zero.is_trusted(weight)

    @torch.no_grad()
    def clear_weights(self) -> dict[str, int]:
        """Zero the masked elements of the weights, also those that are not finite.

        Synchronises with the device.

        Returns:
            How many were finite and not zero, by the names of the weights that had some. What is
            not finite, a step has made of a loss that was not: no mask multiplies it to zero.
        """
        if not self.masks:
            return {}
        # A weight at a time: all of them together would take as much memory as the model.
        wrong = torch.stack([self._wrong(n).count_nonzero() for n in range(len(self._weights))])
        counts = {}
        for number, (name, found) in enumerate(zip(self.masks, wrong.tolist(), strict=True)):
            if found:
                where, weight = self._wrong(number), local(self._weights[number])
                counts[name] = int((where & weight.isfinite()).count_nonzero())
                weight.masked_fill_(where, 0)
        return {name: count for name, count in counts.items() if count}

    @torch.no_grad()
    def mask_gradients(self) -> None:
        """Zero the masked elements of the gradients that there are; sparse ones stay."""
        _multiply(
            [
                (local(weight.grad), rows)
                for weight, rows in zip(self._weights, self._bound_factors(), strict=True)
                if weight.grad is not None and not weight.grad.is_sparse
            ]
        )

    @torch.no_grad()
    def mask_optimizer_state(self, optimizer: Optimizer) -> None:
        """Zero the masked elements of every state tensor in the shape of its weight.

        What is quantised is multiplied by the operations of its own type. Where there are none, it
        is left alone, and so are codes: the masks of the weights hold without.

        Args:
            optimizer: any optimizer.
        """
        found = []
        bound = self._bound_factors()
        for weight, mask, rows in zip(self._weights, self.masks.values(), bound, strict=True):
            for state in _state_of(weight, optimizer):
                if type(state) not in {Tensor, nn.Parameter}:
                    kept = shard_like(mask.whole(), weight)
                    _mask_quantised(state, kept, type(optimizer).__name__)
                elif state.is_floating_point() or state.is_complex():
                    found.append((state, rows))
                else:
                    _say_left_alone(type(optimizer).__name__, f"it holds codes of {state.dtype}")
        _multiply(found)

    def begin_step(self, optimizer: Optimizer) -> None:
        """Note what a step begins with; gradients have just been masked.

        Args:
            optimizer: what steps.
        """
        if not self._still_zero.knows_state(optimizer):
            self.mask_optimizer_state(optimizer)
        self._still_zero.begin(optimizer, self._masked_of(optimizer))

    def end_step(self, optimizer: Optimizer) -> None:
        """Zero the masked elements of the weights that have been stepped on, if they may not be.

        Args:
            optimizer: what has stepped.
        """
        weights = self._masked_of(optimizer)
        if self._still_zero.holds(optimizer):
            self._still_zero.trust(weights)
        else:
            self.mask_weights(weights)

    def _masked_of(self, optimizer: Optimizer) -> list[Tensor]:
        """Return the masked weights among the parameters of an optimizer."""
        masked = {id(weight) for weight in self._weights}
        groups = optimizer.param_groups
        return [p for group in groups for p in group["params"] if id(p) in masked]

    def _wrong(self, number: int) -> Tensor:
        """Return where a weight is masked and not zero."""
        weight, mask = self._weights[number], list(self.masks.values())[number]
        part = local(weight)
        return (part != 0) & ~shard_like(mask.whole(), weight).to(part.device)

    def _bound_factors(self) -> list[list[_Rows]]:
        """Return the factors on the device of the weights, which may move, in their type."""
        if self._weights:
            here = (self._weights[0].device, self._weights[0].dtype)
            if here != self._bound_to:
                pairs = zip(self._weights, self.masks.values(), strict=True)
                self._factors = [_factors(mask, weight) for weight, mask in pairs]
                self._bound_to = here
        return self._factors


@dataclass(frozen=True)
class _Rows:
    """Some rows of a weight, and the factors of their elements.

    Args:
        piece: the rows.
        factors: each broadcasts to them.
    """

    piece: Piece
    factors: list[Tensor]


def _factors(mask: WeightMask, weight: Tensor) -> list[_Rows]:
    """Return factors of what this rank holds of a weight."""
    part = local(weight.detach())
    if part.device.type != "cpu":
        whole = torch.empty_like(part).copy_(shard_like(mask.whole(), weight))
        return [_Rows(Piece(0, 0, 0, part.shape), [whole])]
    # Flags as numbers: the conversion of booleans takes eight times as long.
    lines = {dim: mask.along(dim).view(torch.uint8) for dim in mask.lines}
    along_rows = [shard_like(line, weight) for dim, line in lines.items() if dim <= 0]
    across = [line for dim, line in lines.items() if dim > 0]
    row = [reduce(torch.mul, across).expand(1, *part.shape[1:]).contiguous()] if across else []
    return [
        _Rows(piece, row + [piece.of([line]) for line in along_rows]) for piece in pieces_of([part])
    ]


def _multiply(tensors: Sequence[tuple[Tensor, Sequence[_Rows]]]) -> None:
    """Multiply tensors in place by their factors."""
    parts, factors = [], []
    for tensor, all_rows in tensors:
        for rows in all_rows:
            parts += [rows.piece.of([tensor])] * len(rows.factors)
            factors += rows.factors
    if parts:
        torch._foreach_mul_(parts, factors)


def _state_of(weight: Tensor, optimizer: Optimizer) -> list[Tensor]:
    """Return what this rank holds of the state in the shape of a weight."""
    values = tree_leaves(optimizer.state.get(weight))
    return [local(v) for v in values if isinstance(v, Tensor) and v.shape == weight.shape]


def _mask_quantised(state: Tensor, kept: Tensor, optimizer: str) -> None:
    """Multiply state in a type of its own in place, if that type can be read and written."""
    try:
        state.copy_(state.dequantize() * kept.to(state.device))
    except (RuntimeError, TypeError) as error:  # NotImplementedError is a RuntimeError
        _say_left_alone(optimizer, f"{type(state).__name__} cannot be multiplied ({error})")


@cache
def _say_left_alone(optimizer: str, reason: str) -> None:
    """Say once that state stays as it is."""
    log.info("The state of %s keeps what it holds of masked weights: %s", optimizer, reason)
