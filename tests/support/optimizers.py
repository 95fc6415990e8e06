"""Optimizers that step in ways of their own, as those of papers and of other packages do."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor
from torch.optim import SGD, Optimizer


class Sam(Optimizer):
    """Two moves by methods of their own: up the gradient, then down from where it started."""

    def __init__(self, parameters: Iterable[Tensor]) -> None:
        super().__init__(parameters, {})
        self.inner = SGD(self.param_groups, lr=0.1, momentum=0.9)
        self.param_groups = self.inner.param_groups

    @torch.no_grad()
    def climb(self) -> None:
        for parameter in self.param_groups[0]["params"]:
            self.state[parameter]["start"] = parameter.clone()
            parameter.add_(parameter.grad, alpha=0.5)

    @torch.no_grad()
    def descend(self) -> None:
        for parameter in self.param_groups[0]["params"]:
            parameter.copy_(self.state[parameter]["start"])
        self.inner.step()

    def step(self, closure: Callable[[], Any] | None = None) -> None:  # type: ignore[override]
        if closure is None:
            raise RuntimeError("climb and descend, or pass a closure")
        closure()
        self.climb()
        closure()
        self.descend()


class Lookahead(Optimizer):
    """Pulls the weights towards slow ones after every second step of the optimizer that it wraps.

    It derives from `Optimizer` without its constructor, as several in use do, so it has no hooks.
    """

    def __init__(self, base_optimizer: Optimizer) -> None:
        self.base_optimizer = base_optimizer
        self.param_groups = base_optimizer.param_groups
        self.defaults = base_optimizer.defaults
        self.slow = [p.detach().clone() for p in self.param_groups[0]["params"]]
        self.steps = 0

    @property
    def state(self) -> Any:
        return self.base_optimizer.state

    def state_dict(self) -> Any:
        return self.base_optimizer.state_dict()

    def zero_grad(self, set_to_none: bool = True) -> None:
        self.base_optimizer.zero_grad(set_to_none)

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:  # type: ignore[override]
        loss = self.base_optimizer.step(closure)
        self.steps += 1
        if self.steps % 2 == 0:
            for slow, parameter in zip(self.slow, self.param_groups[0]["params"], strict=True):
                slow.lerp_(parameter, 0.5)
                parameter.data = slow.clone()  # which no version counter shows
        return loss


class ScheduleFree(Optimizer):
    """SGD whose weights are one average while it trains, and another one in between."""

    def __init__(self, parameters: Iterable[Tensor], lr: float = 0.1) -> None:
        super().__init__(parameters, {"lr": lr})
        self.training = True
        self.steps = 0

    @torch.no_grad()
    def switch(self, training: bool) -> None:
        if training != self.training:
            self.training = training
            for parameter, state in self.state.items():
                # y = x + (z - x) / 10, and back
                parameter.lerp_(state["z"], 0.1 if training else -0.1 / 0.9)

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:  # type: ignore[override]
        loss = None if closure is None else torch.enable_grad()(closure)()
        self.steps += 1
        for parameter in self.param_groups[0]["params"]:
            z = self.state[parameter].setdefault("z", parameter.clone())
            x = torch.lerp(parameter, z, -0.1 / 0.9)
            z.add_(parameter.grad, alpha=-self.param_groups[0]["lr"])
            parameter.copy_(x.lerp_(z, 1 / self.steps).lerp_(z, 0.1))
        return loss


class Coded(SGD):
    """Keeps codes of one byte beside its momentum, as optimizers of 8 bits do."""

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:  # type: ignore[override]
        loss = super().step(closure)
        for parameter in self.param_groups[0]["params"]:
            self.state[parameter]["codes"] = torch.full_like(parameter, 127, dtype=torch.uint8)
        return loss
