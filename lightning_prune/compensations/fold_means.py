"""The means of removed units, folded into biases."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor
from typing_extensions import override

from lightning_prune.compensations.base import Compensation, Moments


@dataclass(frozen=True)
class FoldMeans(Compensation):
    r"""Add what the removed units wrote on average to the biases of their readers.

    .. math:: b' = b + \mathrm{E}[y] - W\,\mathrm{E}[x]

    where :math:`y` is what the reader returned before and :math:`x` are the features that are left.
    Where a batch norm follows that has statistics, its mean takes the constant in place of a bias;
    a reader with neither stays as it is. Weights stay as they are. As in variance-based pruning,
    Berisha et al., 2025, arXiv:2507.12988.

    Args:
        samples: how many examples are read at most, at least 1.
    """

    needs_products: ClassVar[bool] = False

    @override
    def fit(self, moments: Moments, weight: Tensor) -> Tensor:
        """Return the weights as they are."""
        return weight
