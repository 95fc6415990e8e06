"""The random criterion: a baseline for all others."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor
from typing_extensions import override

from lightning_prune.arguments import check_seed
from lightning_prune.criteria.base import Criterion
from lightning_prune.criteria.evidence import Evidence, Weights


@dataclass(frozen=True)
class Random(Criterion):
    """Score a weight by a uniform random number.

    Every call gives the same scores for the same shapes: what was removed is removed again, all
    ranks agree, and a resumed run needs no state. The global generators are not used.

    Args:
        seed: seed of the criterion's own generator.

    Raises:
        ValueError: if ``seed`` is none that torch takes.
    """

    seed: int = 0

    reads: ClassVar[type[Evidence]] = Weights

    def __post_init__(self) -> None:
        check_seed("seed", self.seed)

    @override
    def write(self, out: list[Tensor], weights: list[Tensor], observed: list[Tensor]) -> None:
        """Write uniform random numbers in [0, 1) into ``out``."""
        # Drawn on the CPU, so that the scores do not depend on the device.
        generator = torch.Generator().manual_seed(self.seed)
        numbers = torch.rand(sum(scores.numel() for scores in out), generator=generator)
        pieces = torch.split(numbers, [scores.numel() for scores in out])
        torch._foreach_copy_(
            out, [piece.view(scores.shape) for piece, scores in zip(pieces, out, strict=True)]
        )
