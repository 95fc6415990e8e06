"""Expectation: a recorded operation, what is predicted of it, and how a call of it is corrected."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from torch._ops import OpOverload

from lightning_prune.coupling.forecast import Forecast, Trace
from lightning_prune.coupling.graph import Node
from lightning_prune.runtime.corrections import Correction

Arguments = dict[str, Any]


@dataclass(frozen=True)
class Expectation:
    """A recorded operation and what is predicted of it.

    Args:
        node: the operation.
        trace: the pass to which it belongs.
        forecast: what stays of its values.
    """

    node: Node
    trace: Trace
    forecast: Forecast


@dataclass(frozen=True)
class Fix:
    """A correction, and the operation as it should have been called.

    Args:
        correction: what must stand in for the user's call.
        run: calls the operation rightly.
        sizes: for sizes, the number that stands at each place, and the one that belongs there.
    """

    correction: Correction
    run: Callable[[], Any]
    sizes: tuple[tuple[int, int, int], ...] = ()


def call_with(func: OpOverload, given: Arguments, **changed: Any) -> Callable[[], Any]:
    """Return a call with some arguments changed; ``self`` cannot be given by name."""
    first = func._schema.arguments[0].name
    rest = {name: value for name, value in {**given, **changed}.items() if name != first}
    return lambda: func({**given, **changed}[first], **rest)
