"""Covariances: how what layers read hangs together."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection
from typing import Any, ClassVar, Self

import torch
from torch import Tensor, nn
from typing_extensions import override

from lightning_prune.criteria.evidence.base import Evidence, Subject
from lightning_prune.criteria.evidence.observer import Observer, observable
from lightning_prune.modules.names import plain_name

_DAMPING = 0.01
"""What is added to every variance, relative to the average one."""

_BLOCK = 64
"""How many channels go at once, at most."""


class Covariances(Evidence):
    r"""The variance of every input of a layer that its other inputs do not explain.

    .. math:: v_j = 1 \, / \, [(C_S + 0.01 \, \overline{C_{jj}} \, I)^{-1}]_{jj}

    for the covariances *C* of the input channels of a linear layer or convolution, averaged over
    positions and batches since the last update. Inputs are taken away one after the other, that of
    the least error first, and *S* are those that are left by then: of two that are alike, one
    counts. Holds the square of the number of input channels in 32 bits, for each layer.
    """

    name: ClassVar[str] = "covariances"
    needs_data: ClassVar[bool] = True
    same_on_ranks: ClassVar[bool] = False

    def __init__(self, subject: Subject) -> None:
        super().__init__(subject)
        modules = observable(subject.model)
        # In the order of the weights, which is that of every rank.
        observed = {name: modules[plain_name(name)] for name in subject.weights}
        self._observer = Observer(observed, _products)

    @classmethod
    @override
    def observable(cls, model: nn.Module, names: Collection[str]) -> set[str]:
        """Return the names of the weights of linear layers and ungrouped convolutions."""
        modules = observable(model)
        return {name for name in names if plain_name(name) in modules}

    @property
    @override
    def ready(self) -> bool:
        """Whether every module has read something."""
        return self._observer.ready

    @override
    def start(self, *, only_training: bool) -> None:
        """Hook into the modules."""
        self._observer.start(only_training=only_training)

    @override
    def stop(self) -> None:
        """Take the hooks away."""
        self._observer.stop()

    @override
    def gather(self, loss: Callable[[nn.Module, Any], Tensor], batch: Any) -> None:
        """Run the batch, of which the hooks see enough."""
        with torch.no_grad():
            loss(self.subject.model, batch)

    @override
    def observed(self) -> list[Tensor]:
        """Return the variances, in shapes that broadcast to the weights."""
        means = self._observer.means()
        return [
            self._observer.like_weight(
                name, _unexplained(means[name], self._observer.squares_of_weight(name))
            )
            for name in self.subject.weights
        ]

    @override
    def reset(self) -> None:
        """Forget every batch."""
        self._observer.reset()

    @override
    def reduce(self, add_up: Callable[[Tensor], Tensor]) -> None:
        """Add up the sums."""
        self._observer.reduce(add_up)

    @override
    def state_dict(self) -> dict[str, Any] | None:
        """Return the sums."""
        return self._observer.state_dict()

    @override
    def load_state_dict(self, state: dict[str, Any] | None) -> None:
        """Take over the sums."""
        self.reset()
        if state is not None:
            self._observer.load_state_dict(state)

    @override
    def adopt(self, other: Self) -> None:
        """Take over the sums of the same modules."""
        self._observer.adopt(other._observer)


def _products(inputs: Tensor, dim: int) -> Tensor:
    """Return the averages of channels and of their products, shape ``[n + n * n]``."""
    values = inputs.float().movedim(dim, 0).flatten(1)
    return torch.cat([values.mean(1), (values @ values.T / values.shape[1]).flatten()])


def _unexplained(averages: Tensor, weights: Tensor) -> Tensor:
    """Return what is left of the variance of each channel when its turn to go has come, ``[n]``.

    Args:
        averages: what `_products` returned.
        weights: sums of the squares of the weights that read each channel, shape ``[n]``.
    """
    n = len(weights)
    mean, products = averages.double().cpu().split([n, n * n])
    covariances = products.view(n, n) - torch.outer(mean, mean)
    held = _DAMPING * covariances.diagonal().clamp_min(0).mean()
    left = covariances + held * torch.eye(n, dtype=held.dtype)
    factor, failed = torch.linalg.cholesky_ex(left)
    if failed:  # nothing varies by more than rounding makes of it
        return torch.zeros_like(weights)
    return _eliminated(torch.cholesky_inverse(factor), weights.double().cpu()).to(weights)


def _eliminated(inverse: Tensor, weights: Tensor) -> Tensor:
    """Return the variances that are left of channels, given those that go later.

    Those of the least error, the weights times the variance, go first. Blocks of them are taken out
    of the inverse at once; within a block one goes after the other, while no other would be better.

    Args:
        inverse: of the covariances, shape ``[n, n]``.
        weights: shape ``[n]``.
    """
    left = torch.arange(len(weights))
    variances = torch.zeros_like(weights)
    error = 0.0
    while len(left):
        errors = weights[left] / inverse.diagonal()
        order = errors.argsort(stable=True)
        block = order[:_BLOCK]
        limit = float(errors[order[_BLOCK]]) if len(order) > _BLOCK else math.inf
        part, heavy = inverse[block][:, block], weights[left[block]]
        gone: list[int] = []
        for _ in block:
            now = heavy / part.diagonal()
            now[gone] = math.inf
            index = int(now.argmin())
            if gone and now[index] > limit:
                break
            error = max(error, float(now[index]))  # what goes later counts for more
            variances[left[block[index]]] = error / heavy[index].clamp_min(1e-300)
            column = part[:, index] / part[index, index]
            part = part - torch.outer(column, part[index])
            part[index, index] = 1.0
            gone.append(index)
        out, stays = block[gone], torch.ones(len(left), dtype=torch.bool)
        stays[out] = False
        across = inverse[stays][:, out]
        inner = torch.linalg.solve(inverse[out][:, out], across.T)
        inverse = inverse[stays][:, stays] - across @ inner
        left = left[stays]
    return torch.where(weights > 0, variances, 0.0)
