"""Sums over calibration data: of what a reader reads, and of what it wrote before."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from lightning_prune.compensations import Moments


class Sums:
    """Sums over the rows of the features of a reader and of its outputs before, in float64.

    Args:
        features: how many kept features there are.
        outputs: how many kept outputs there are.
        products: whether to sum products of two values, too.
    """

    def __init__(self, features: int, outputs: int, *, products: bool) -> None:
        self._sizes = (features, outputs) if products else (0, 0)
        self._means = torch.zeros(1 + features + outputs, dtype=torch.float64)
        self._features, self._products = features, products
        n, m = self._sizes
        self._squares = torch.zeros(n * n + n * m + m, dtype=torch.float64)

    def add(self, features: Tensor, outputs: Tensor) -> None:
        """Add rows.

        Args:
            features: shape ``[rows, features]``.
            outputs: shape ``[rows, outputs]``.
        """
        rows = features.new_full((1,), len(features))
        self._means += torch.cat([rows, features.sum(0), outputs.sum(0)]).cpu()
        if self._products:
            parts = features.T @ features, features.T @ outputs, outputs.square().sum(0)
            for kept, part in zip(self._parts, parts, strict=True):
                kept += part.cpu()

    def reduce(self, add_up: Callable[[Tensor], Tensor]) -> None:
        """Add up over ranks.

        Args:
            add_up: returns the sum of a tensor over all ranks.
        """
        self._means, self._squares = add_up(self._means), add_up(self._squares)

    @property
    def rows(self) -> int:
        """How many rows were added."""
        return int(self._means[0])

    @property
    def finite(self) -> bool:
        """Whether there is something, and all of it is finite."""
        return bool(self._means[0] > 0) and all(
            bool(part.isfinite().all()) for part in (self._means, self._squares)
        )

    @property
    def mean_features(self) -> Tensor:
        """The mean of every feature."""
        return self._means[1 : 1 + self._features] / self._means[0]

    @property
    def mean_outputs(self) -> Tensor:
        """The mean of every output."""
        return self._means[1 + self._features :] / self._means[0]

    def moments(self, *, about_mean: bool) -> Moments:
        """Return the averages of products.

        Args:
            about_mean: whether those of the differences from the means.
        """
        xx, xy, yy = (part / self._means[0] for part in self._parts)
        if about_mean and self._products:
            x, y = self.mean_features, self.mean_outputs
            xx, xy, yy = xx - torch.outer(x, x), xy - torch.outer(x, y), yy - y.square()
        return Moments(xx, xy, float(yy.sum()))

    @property
    def _parts(self) -> list[Tensor]:
        """The sums of products of two features, of a feature and an output, and of squares."""
        n, m = self._sizes
        xx, xy, yy = self._squares.split([n * n, n * m, m])
        return [xx.view(n, n), xy.view(n, m), yy]
