"""Still zero: which steps of optimizers leave masked weights at zero by themselves.

Most optimizers move a weight by its own gradient and state alone. Where it is zero, and both of
these are, it stays zero, and need not be multiplied by its mask after the step. Whether others have
written in between, the versions of the tensors tell: they count the writes.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

_ELEMENTWISE = frozenset(
    getattr(torch.optim, name)
    for name in "SGD Adam AdamW NAdam RAdam Adamax Adagrad Adadelta RMSprop ASGD Rprop".split()
)
"""The optimizers that move each element by itself; not what derives from them."""


@dataclass(frozen=True, eq=False)
class _Noted:
    """A masked weight with its masked gradient, as a step began."""

    weight: Tensor
    gradient: Tensor | None
    version: int

    def is_untouched(self) -> bool:
        """Whether nobody has written to the gradient since; the optimizer does not."""
        gradient = self.weight.grad
        return gradient is self.gradient and _version(gradient) == self.version


class StillZero:
    """Tells of every step, without reading a weight, whether it has left masked weights at zero.

    It serves one set of masks. What is written to ``tensor.data`` counts as no write.
    """

    def __init__(self) -> None:
        self._masked: dict[int, tuple[int, int]] = {}
        self._states: dict[int, Mapping[Tensor, object]] = {}
        self._noted: dict[int, list[_Noted]] = {}

    def knows_state(self, optimizer: Optimizer) -> bool:
        """Return whether the state of an optimizer is masked; from now on it is."""
        known = self._states.get(id(optimizer)) is optimizer.state
        self._states[id(optimizer)] = optimizer.state
        return known

    def begin(self, optimizer: Optimizer, weights: Sequence[Tensor]) -> None:
        """Note what a step begins with; state and gradients are masked.

        Args:
            optimizer: what steps.
            weights: the masked ones among its parameters.
        """
        self._noted.pop(id(optimizer), None)
        if type(optimizer) in _ELEMENTWISE and all(map(self._is_masked, weights)):
            self._noted[id(optimizer)] = [_Noted(w, w.grad, _version(w.grad)) for w in weights]

    def holds(self, optimizer: Optimizer) -> bool:
        """Return whether the step that ends now has left zeros."""
        noted = self._noted.pop(id(optimizer), None)
        return noted is not None and all(one.is_untouched() for one in noted)

    def trust(self, weights: Iterable[Tensor]) -> None:
        """Take weights for masked as they are now."""
        self._masked.update((id(w), _writes(w)) for w in weights if _counts_writes(w))

    def is_trusted(self, weight: Tensor) -> bool:
        """Return whether nobody has written to a weight since it was masked, as far as is known."""
        known = self._masked.get(id(weight))
        return not _counts_writes(weight) or known == _writes(weight)

    def _is_masked(self, weight: Tensor) -> bool:
        if weight.grad is not None and weight.grad.is_sparse:
            return False  # it is not masked itself
        return id(weight) in self._masked and self._masked[id(weight)] == _writes(weight)


def _version(gradient: Tensor | None) -> int:
    return 0 if gradient is None else gradient._version


def _counts_writes(weight: Tensor) -> bool:
    return type(weight) in {Tensor, nn.Parameter} and not weight.is_inference()


def _writes(weight: Tensor) -> tuple[int, int]:
    return weight._version, weight.data_ptr()
