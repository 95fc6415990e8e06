"""A source of scores: in how many steps the gradient of a weight was negative."""

from typing import Any

import torch
from torch import Tensor

from lightning_prune import Evidence


class NegativeSteps(Evidence):
    """Counts, for every weight, the steps whose gradient was below zero."""

    name = "counts of negative gradients"
    needs_data = True
    of_optimizers = True

    def __init__(self, subject: Any) -> None:
        super().__init__(subject)
        self.counts: list[Tensor] = []

    @property
    def ready(self) -> bool:
        return bool(self.counts)

    def add(self, parameters: Any = None, grad_scale: Any = None) -> None:
        weights = list(self.subject.weights.values())
        self.counts = self.counts or [torch.zeros_like(weight) for weight in weights]
        for count, weight in zip(self.counts, weights, strict=True):
            if weight.grad is not None:
                count.add_(weight.grad < 0)

    def observed(self) -> list[Tensor]:
        return self.counts

    def reset(self) -> None:
        self.counts = []

    def state_dict(self) -> dict[str, Any] | None:
        return {"counts": [count.clone() for count in self.counts]}

    def load_state_dict(self, state: dict[str, Any] | None) -> None:
        self.counts = [] if state is None else [count.clone() for count in state["counts"]]
