"""Functions in a module of their own, which nets in the tests call."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor, nn


def folded(x: Tensor, width: int = 8) -> Tensor:
    return x.flatten(1).reshape(x.shape[0], -1, width)


def scaled(x: Tensor) -> Tensor:
    return x / x.shape[-1] ** 0.5


def applied(function: Callable[[Any], Any], x: Tensor) -> Any:
    return function(x)


def added(x: Tensor, function: Callable[[Tensor], Tensor]) -> Tensor:
    y = function(x)
    return x + y


class Fold:
    """Called by a module that holds it; it reads a size of that."""

    def __call__(self, module: nn.Module, x: Tensor) -> Tensor:
        return x.view(x.shape[0], 2, module.width // 2).sum(1)


class Folds(nn.Module):
    """Calls what it holds in an attribute."""

    def __init__(self, fold: Any) -> None:
        super().__init__()
        self.width, self.fold = 8, fold
        self.first, self.last = nn.Linear(5, 8), nn.Linear(4, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.fold(self, self.first(x)))
