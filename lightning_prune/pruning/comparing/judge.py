"""Judges: what measures a pruned model on held-out data."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from lightning_prune.modules.seeding import Draws


@dataclass(frozen=True)
class Judge:
    """Measures a model on held-out data.

    Args:
        measure: returns the value of a model, which is in eval mode; the same on every rank.
        name: of the value.
        higher_is_better: of the values.
    """

    measure: Callable[[nn.Module], float]
    name: str = "loss"
    higher_is_better: bool = False

    def __call__(self, model: nn.Module) -> float:
        """Return the value of a model; random numbers are the same for every model."""
        devices = {parameter.device for parameter in model.parameters()}
        with torch.no_grad(), Draws(0, devices).in_force():
            return float(self.measure(model))


@dataclass(frozen=True)
class HeldOut:
    """A batch of held-out data.

    Args:
        loss: returns the loss of a model on it, an average over its examples.
        size: how many these are.
    """

    loss: Callable[[nn.Module], Tensor]
    size: int


def average_loss(
    model: nn.Module,
    batches: Sequence[HeldOut],
    add_up: Callable[[Tensor], Tensor] = lambda tensor: tensor,
) -> float:
    """Return the loss of a model, averaged over the examples of all batches.

    Args:
        model: in eval mode.
        batches: held-out data.
        add_up: returns the sum of a tensor over all ranks, each of which has batches of its own.
    """
    total = torch.zeros(2, dtype=torch.float64)
    for batch in batches:
        total += torch.tensor([float(batch.loss(model)) * batch.size, batch.size]).double()
    loss, size = add_up(total)
    return float(loss / size)
