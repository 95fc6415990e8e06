"""Enforcement: keeps masked elements of weights, gradients and optimizer state at zero.

It multiplies in place and decides nothing. Zeroing weights once is not enough: momentum and Adam
change all of them again, even where gradients are masked.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from functools import cache

import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.utils._pytree import tree_leaves

from lightning_prune.modules.shards import local, shard_like

log = logging.getLogger(__name__)


class Enforcement:
    """Masks bound to weights.

    The masks are kept as factors in the type of their weights: on a CPU, one multiplication by
    those took half the time of one by booleans and a ninth of `Tensor.masked_fill_`.

    Of sharded weights each rank masks its part.

    Args:
        weights: parameters, by name.
        masks: boolean masks of some of them, by name, ``True`` = kept.
    """

    def __init__(self, weights: Mapping[str, Tensor], masks: Mapping[str, Tensor]) -> None:
        self.masks = dict(masks)
        self._weights = [weights[name] for name in self.masks]
        self._factors: list[Tensor] = []

    @classmethod
    def of(cls, tensors: Mapping[str, Tensor], masks: Mapping[str, Tensor]) -> Enforcement:
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
        weights, factors = [], []
        for weight, factor in zip(self._weights, self._bound_factors(), strict=True):
            if among is None or id(weight) in among:
                weights.append(local(weight))
                factors.append(factor)
        if not weights:
            return
        torch._foreach_mul_(weights, factors)
        if among is None:  # not after every step: products leave negative zeros, which files tell
            torch._foreach_add_(weights, 0.0)

    @torch.no_grad()
    def clear_weights(self) -> dict[str, int]:
        """Zero the masked elements of the weights, also those that are not finite.

        Synchronises with the device.

        Returns:
            How many were finite and not zero, by the names of the weights that had some. What is
            not finite, a step has made of a loss that was not: no mask multiplies it to zero.
        """
        weights, factors = [local(weight) for weight in self._weights], self._bound_factors()
        if not weights:
            return {}
        alive = torch._foreach_mul(weights, factors)
        torch._foreach_sub_(alive, weights)  # zero where a weight is kept
        if not torch.stack(torch._foreach_norm(alive, 1)).any():
            return {}
        counts = {}
        for name, weight, factor in zip(self.masks, weights, factors, strict=True):
            wrong = (factor == 0) & (weight != 0)
            counts[name] = int((wrong & weight.isfinite()).count_nonzero())
            weight.masked_fill_(wrong, 0)
        return {name: count for name, count in counts.items() if count}

    @torch.no_grad()
    def mask_gradients(self) -> None:
        """Zero the masked elements of the gradients that there are; sparse ones stay."""
        gradients, factors = [], []
        for weight, factor in zip(self._weights, self._bound_factors(), strict=True):
            if weight.grad is not None and not weight.grad.is_sparse:
                gradients.append(local(weight.grad))
                factors.append(factor)
        if gradients:
            torch._foreach_mul_(gradients, factors)

    @torch.no_grad()
    def mask_optimizer_state(self, optimizer: Optimizer) -> None:
        """Zero the masked elements of every state tensor in the shape of its weight.

        What is quantised is multiplied by the operations of its own type. Where there are none, it
        is left alone, and so are codes: the masks of the weights hold without.

        Args:
            optimizer: any optimizer.
        """
        tensors, factors = [], []
        for weight, factor in zip(self._weights, self._bound_factors(), strict=True):
            for state in _state_of(weight, optimizer):
                if type(state) not in {Tensor, nn.Parameter}:
                    _mask_quantised(state, factor, type(optimizer).__name__)
                elif state.is_floating_point():
                    tensors.append(state)
                    factors.append(factor)
                else:
                    _say_left_alone(type(optimizer).__name__, f"it holds codes of {state.dtype}")
        if tensors:
            torch._foreach_mul_(tensors, factors)

    def _bound_factors(self) -> list[Tensor]:
        """Return the factors on the device of the weights, which may move, in their type."""
        if self._weights and (not self._factors or not _alike(self._factors[0], self._weights[0])):
            self._factors = [
                torch.empty_like(local(weight), requires_grad=False).copy_(shard_like(mask, weight))
                for weight, mask in zip(self._weights, self.masks.values(), strict=True)
            ]
        return self._factors


def _alike(a: Tensor, b: Tensor) -> bool:
    """Return whether two tensors share device and type."""
    return a.device == b.device and a.dtype == b.dtype


def _state_of(weight: Tensor, optimizer: Optimizer) -> list[Tensor]:
    """Return what this rank holds of the state in the shape of a weight."""
    values = tree_leaves(optimizer.state.get(weight))
    return [local(v) for v in values if isinstance(v, Tensor) and v.shape == weight.shape]


def _mask_quantised(state: Tensor, factor: Tensor, optimizer: str) -> None:
    """Multiply state in a type of its own in place, if that type can be read and written."""
    try:
        state.copy_(state.dequantize() * factor)
    except (RuntimeError, TypeError) as error:  # NotImplementedError is a RuntimeError
        _say_left_alone(optimizer, f"{type(state).__name__} cannot be multiplied ({error})")


@cache
def _say_left_alone(optimizer: str, reason: str) -> None:
    """Say once that state stays as it is."""
    log.info("The state of %s keeps what it holds of masked weights: %s", optimizer, reason)
