"""A criterion that reads a source of scores of one's own."""

from dataclasses import dataclass

from torch import Tensor

from lightning_prune import Criterion
from support.own.evidence import NegativeSteps


@dataclass(frozen=True)
class OftenNegative(Criterion):
    """Keep weights whose gradient was often negative."""

    reads = NegativeSteps

    def write(self, out: list[Tensor], weights: list[Tensor], observed: list[Tensor]) -> None:
        for score, count in zip(out, observed, strict=True):
            score.copy_(count)
