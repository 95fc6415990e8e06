"""The gradient criterion: the share of each weight in the step's gradient."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor
from typing_extensions import override

from lightning_prune.criteria.base import Criterion
from lightning_prune.criteria.evidence import Evidence, Gradients


@dataclass(frozen=True)
class Gradient(Criterion):
    r"""Score a weight by its share of the absolute gradient.

    .. math:: s_i = \frac{|\partial J / \partial w_i|}{\sum_j |\partial J / \partial w_j|}

    The sum runs over all weights of the step, so that every step weighs the same, whatever the
    scale of its loss. The **lowest** scores are removed. Where every gradient is zero, so are the
    scores.

    Examples:
        A layer of 100 weights, with gradients 0.1, 0.15, 0.05 and so on. The gradient of a sum of
        its outputs is the input, so that this batch gives them:

        >>> from lightning_prune import Weight, prune
        >>> from lightning_prune.criteria.evidence.accumulator import Accumulator
        >>> gradients = torch.tensor([0.1, 0.15, 0.05, 0.3, 0.02] * 20) + torch.arange(100) * 1e-4
        >>> layer = torch.nn.Linear(100, 1, bias=False)
        >>> layer(gradients).sum().backward()
        >>> accumulator = Accumulator([layer.weight], Gradient())
        >>> accumulator.add()
        >>> scores = accumulator.mean()[0].flatten()
        >>> torch.allclose(scores, gradients.abs() / gradients.abs().sum())
        True

        Of 100 weights, 20% are the 20 with the lowest scores:

        >>> report = prune(
        ...     layer,
        ...     sparsity=0.2,
        ...     criterion=Gradient(),
        ...     granularity=Weight(),
        ...     batches=[gradients.unsqueeze(0)],
        ...     loss=lambda model, batch: model(batch).sum(),
        ... )
        >>> removed = (layer.weight.flatten() == 0).nonzero().flatten()
        >>> len(removed), torch.equal(removed, scores.argsort()[:20].sort().values)
        (20, True)
    """

    reads: ClassVar[type[Evidence]] = Gradients
    elementwise: ClassVar[bool] = True
    shares: ClassVar[bool] = True

    @override
    def write(self, out: list[Tensor], weights: list[Tensor], observed: list[Tensor]) -> None:
        """Write the absolute gradients into ``out``; the accumulator divides by their sum."""
        if all(g.is_cpu and g.dtype == torch.float32 for g in observed):  # in one pass
            for scores, gradient in zip(out, observed, strict=True):
                torch.abs(gradient, out=scores)
        else:
            torch._foreach_copy_(out, observed)
            torch._foreach_abs_(out)
