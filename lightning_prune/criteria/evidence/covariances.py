"""Covariances: how what layers read hangs together."""

from __future__ import annotations

import math
from typing import ClassVar

import torch
from torch import Tensor
from typing_extensions import override

from lightning_prune.criteria.evidence.inputs import Inputs

_DAMPING = 0.01
"""What is added to every variance, relative to the average one."""

_BLOCK = 64
"""How many channels go at once, at most."""


class Covariances(Inputs):
    r"""The variance of every input of a layer that its other inputs do not explain.

    .. math:: v_j = 1 \, / \, [(C_S + 0.01 \, \overline{C_{jj}} \, I)^{-1}]_{jj}

    for the covariances *C* of the input channels of a linear layer or convolution, averaged over
    positions and batches since the last update. Inputs are taken away one after the other, that of
    the least error first, and *S* are those that are left by then: of two that are alike, one
    counts. Holds the square of the number of input channels in 32 bits, for each layer.
    """

    name: ClassVar[str] = "covariances"

    @override
    def summary(self, inputs: Tensor, dim: int) -> Tensor:
        """Return the averages of channels and of their products, shape ``[n + n * n]``."""
        values = inputs.float().movedim(dim, 0).flatten(1)
        return torch.cat([values.mean(1), (values @ values.T / values.shape[1]).flatten()])

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


def _unexplained(averages: Tensor, weights: Tensor) -> Tensor:
    """Return what is left of the variance of each channel when its turn to go has come, ``[n]``.

    Args:
        averages: what `Covariances.summary` returned.
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
