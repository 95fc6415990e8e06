"""Copies: what runs in place of a model, which is left alone.

Making a copy may take longer than running it. One that running leaves as it was is used again;
others are made anew for every trial, so that no trial sees what an earlier one has left behind.
"""

from __future__ import annotations

import operator
from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from lightning_prune.modules.twin import clone


class Copies:
    """Copies of one model.

    Args:
        model: the model; it must not change as long as this is used.
    """

    def __init__(self, model: nn.Module) -> None:
        self.model = model
        self._kept: tuple[nn.Module, _State] | None = None

    @contextmanager
    def borrowed(self, dtype: torch.dtype | None, *, trains: bool) -> Iterator[nn.Module]:
        """Lend a copy that is as the model is now, in eval mode.

        Args:
            dtype: type of its real numbers; None for those that the model has.
            trains: whether it will run in train mode.

        Yields:
            The copy. It shares no memory with the model, which may write to parameters as it runs.
        """
        if trains or dtype != torch.float32:
            yield clone(self.model, dtype).eval()
            return
        if self._kept is None:
            copied = clone(self.model, dtype).eval()
            self._kept = copied, _State(copied)
        (copied, before), self._kept = self._kept, None
        has_failed = False
        try:
            yield copied
        except Exception:
            has_failed = True
            raise
        finally:
            now = _State(copied)
            if not has_failed and now.is_like(before):
                self._kept = copied, now


class _State:
    """Everything that modules hold, and what changes with it."""

    def __init__(self, model: nn.Module) -> None:
        self._held = [
            value
            for module in model.modules()
            for held in (vars(module), module._buffers, module._parameters)
            for value in held.values()
        ]
        self._held += [one for value in self._held for one in _elements(value)]
        tensors = (value for value in self._held if isinstance(value, Tensor))
        self._versions = [t._version for t in tensors if not t.is_inference()]
        generators = (value for value in self._held if isinstance(value, torch.Generator))
        self._drawn = [generator.get_state() for generator in generators]

    def is_like(self, earlier: _State) -> bool:
        """Tell whether the same is held, unchanged."""
        return (
            self._versions == earlier._versions
            and len(self._held) == len(earlier._held)
            and all(map(operator.is_, self._held, earlier._held))
            and all(map(torch.equal, self._drawn, earlier._drawn))
        )


def _elements(value: Any) -> Iterable[Any]:
    if isinstance(value, dict):
        return value.values()
    return value if isinstance(value, (list, set, deque)) else ()
