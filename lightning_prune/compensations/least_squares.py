"""Least squares: the weights by which the outputs stay nearest to what they were."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from typing_extensions import override

from lightning_prune.arguments import check_positive
from lightning_prune.compensations.base import Compensation, Moments


@dataclass(frozen=True)
class LeastSquares(Compensation):
    r"""Fit the readers of removed units anew, by ridge regression on calibration data.

    .. math:: W' = \arg\min_V \mathrm{E}\,\lVert y - V x \rVert^2
              + \lambda\, \overline{\mathrm{E}[x^2]}\, \lVert V - W \rVert^2

    where :math:`y` is what the reader returned before the units were removed and :math:`x` are the
    features that are left: of a convolution those of the whole kernel. What is added to something
    at once, as a residual branch to its stream, also makes up for what that has lost: :math:`y` is
    the sum as it was, less what is added to it now. The solution is in closed form. Readers are
    fitted in the order of the data, each on what the readers before it write by then: all samples
    go through the model together, whose activations that are needed further on are held, twice, and
    so are the products of the features of one reader, in 64 bits. Where activations would be more
    than about half a gigabyte, and eight rows for each feature are there, further batches join at
    later readers. Rows that what the model returns (the loss, where there is one) does not depend
    on, as the padding of sentences, do not count. A constant goes into the bias, or into the mean
    of a batch norm that follows. After the ridge regression of CORP, 2026, arXiv:2602.05243, and of
    ThiNet, Luo et al., 2017, arXiv:1707.06342.

    Args:
        ridge: :math:`\lambda`, positive: how much weights are held to today's, relative to the mean
            square of the features.
        samples: how many examples are read at most, at least 1.

    Raises:
        ValueError: if an argument is out of range.
        TypeError: if an argument is of another type.
    """

    ridge: float = 0.01

    @override
    def __post_init__(self) -> None:
        super().__post_init__()
        check_positive("ridge", self.ridge, "It holds the weights to those of today.")

    @override
    def fit(self, moments: Moments, weight: Tensor) -> Tensor:
        """Return the ridge regression of the outputs on the features."""
        square = moments.features
        held = self.ridge * square.diagonal().clamp_min(0).mean()
        left = square + held * torch.eye(len(square), dtype=square.dtype, device=square.device)
        right = moments.outputs + held * weight.T
        factor, failed = torch.linalg.cholesky_ex(left)
        if failed:  # no feature varies by more than rounding makes of it
            return weight
        return torch.cholesky_solve(right, factor).T
