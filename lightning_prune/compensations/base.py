"""What a compensation is: new weights for what reads removed units.

A reader is a product with a weight, as of a linear layer or a convolution: each of its outputs is a
sum of weighted features. Removed units take features away from it; a compensation changes the
weights of those that are left, so that its outputs stay near what they were.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import ClassVar

from torch import Tensor

from lightning_prune.arguments import check_integer


@dataclass(frozen=True, eq=False)
class Moments:
    """Averages over calibration data of the kept features of a reader and of its outputs before.

    Where the reader has something that takes a constant, as a bias, all are about the mean.

    Args:
        features: of products of two features, shape ``[features, features]``, float64.
        outputs: of products of a feature and an output as it was before units were removed, shape
            ``[features, outputs]``, float64.
        square: of the squares of all outputs, added up.
    """

    features: Tensor
    outputs: Tensor
    square: float

    def error(self, weight: Tensor) -> float:
        """Return the fraction of the square of the outputs that weights miss, from 0.

        Args:
            weight: shape ``[outputs, features]``, float64.
        """
        explained = 2 * self.outputs - self.features @ weight.T
        return 1 - float((weight.T * explained).sum()) / self.square if self.square > 0 else 0.0


@dataclass(frozen=True)
class Compensation(ABC):
    """How the readers of removed units are changed, so that their outputs stay what they were.

    Args:
        samples: how many examples are read at most, at least 1: of the ``batches`` of `prune`, or
            of the training data.

    Attributes:
        needs_products: it reads `Moments`; else the weights stay and only constants are adapted.

    Raises:
        ValueError: if ``samples`` is not positive.
        TypeError: if it is no integer.
    """

    needs_products: ClassVar[bool] = True

    samples: int = field(default=512, kw_only=True)

    def __post_init__(self) -> None:
        check_integer("samples", self.samples, 1, "It is a number of examples.")

    @abstractmethod
    def fit(self, moments: Moments, weight: Tensor) -> Tensor:
        """Return the new weights of a reader.

        Args:
            moments: of its features and outputs.
            weight: those of today, shape ``[outputs, features]``, float64.

        Returns:
            Weights in the same shape.
        """
