"""Functions in a module of their own, which nets in the tests call."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor


def folded(x: Tensor, width: int = 8) -> Tensor:
    return x.flatten(1).reshape(x.shape[0], -1, width)


def scaled(x: Tensor) -> Tensor:
    return x / x.shape[-1] ** 0.5


def applied(function: Callable[[Any], Any], x: Tensor) -> Any:
    return function(x)


def added(x: Tensor, function: Callable[[Tensor], Tensor]) -> Tensor:
    y = function(x)
    return x + y
