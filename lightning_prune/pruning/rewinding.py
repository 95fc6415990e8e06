"""Rewinding: after every mask update the kept weights return to an earlier step.

Values and copies only; the caller decides when to remember and when to rewind.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from lightning_prune.arguments import check_flags
from lightning_prune.modules.cpu_copies import cpu_copies
from lightning_prune.modules.names import parameters_by_name
from lightning_prune.schedules.base import Schedule
from lightning_prune.schedules.window import Window, moment


@dataclass(frozen=True)
class Rewinding:
    """Rewind to the weights of an epoch or a step after every mask update: lottery tickets.

    Frankle and Carbin, 2019, "The Lottery Ticket Hypothesis", arXiv:1803.03635; to a step other
    than the first, Frankle et al., 2020, arXiv:1912.05671; of the learning rate, Renda et al.,
    2020, arXiv:2003.02389.

    Args:
        epoch: the epoch at whose start the weights are remembered, at least 0.
        step: the number of optimizer steps after which they are, at least 0.
        weights: rewind the weights, and make the optimizer forget its state.
        learning_rate: rewind the learning rate and its schedulers.

    Raises:
        ValueError: unless exactly one of ``epoch`` and ``step`` is given, and there is something
            to rewind.
        TypeError: if ``weights`` or ``learning_rate`` is neither True nor False.
    """

    epoch: int | None = None
    step: int | None = None
    weights: bool = True
    learning_rate: bool = False

    def __post_init__(self) -> None:
        _ = self.window  # which checks the position
        check_flags(weights=self.weights, learning_rate=self.learning_rate)
        if not (self.weights or self.learning_rate):
            raise ValueError(
                "Expected `weights` or `learning_rate` to be rewound, but got neither. "
                "Leave rewinding out."
            )

    @property
    def window(self) -> Window:
        """The position at which the weights are remembered."""
        return moment(self.epoch, self.step)

    def check(self, schedule: Schedule) -> None:
        """Refuse a schedule that removes something before the weights are remembered.

        Raises:
            ValueError: if it does.
        """
        if schedule.period == self.window.period and schedule.first < self.window.end:
            raise ValueError(
                f"Expected `schedule` to start at {schedule.period} {self.window.end} or later, "
                f"as weights are rewound to there, but got {schedule!r}. Rewind to an earlier "
                f"{schedule.period}, or start later."
            )


class Memory:
    """Weights of a model and learning rates, copied once to the CPU."""

    def __init__(self) -> None:
        self.weights: dict[str, Tensor] | None = None
        self.rates: list[list[float]] = []

    def remember(self, model: nn.Module, optimizers: Sequence[Optimizer]) -> None:
        """Copy every parameter and every learning rate."""
        self.weights = cpu_copies(parameters_by_name(model))
        self.rates = [[float(g["lr"]) for g in o.param_groups] for o in optimizers]

    @torch.no_grad()
    def restore_weights(self, model: nn.Module, optimizers: Sequence[Optimizer]) -> None:
        """Copy the remembered weights back, and forget what optimizers know of other weights."""
        parameters = parameters_by_name(model)
        for name, value in (self.weights or {}).items():
            parameters[name].copy_(value)
        for optimizer in optimizers:
            optimizer.state.clear()

    def restore_rates(self, optimizers: Sequence[Optimizer]) -> None:
        """Set the remembered learning rates."""
        for optimizer, rates in zip(optimizers, self.rates, strict=True):
            for group, rate in zip(optimizer.param_groups, rates, strict=True):
                group["lr"] = rate

    def state_dict(self) -> dict[str, object]:
        """Return weights and rates, ``None`` for weights that were not remembered yet."""
        return {"weights": self.weights, "rates": self.rates}

    def load_state_dict(self, state: Mapping[str, object]) -> None:
        """Take over what `state_dict` returned."""
        self.weights, self.rates = state["weights"], state["rates"]  # type: ignore[assignment]
