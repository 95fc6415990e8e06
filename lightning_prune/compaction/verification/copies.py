"""Copies: what runs in place of a model, which is left alone.

Making a copy may take longer than running it. One that running leaves as it was is used again;
others are made anew for every trial, so that no trial sees what an earlier one has left behind.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from lightning_prune.modules.twin import clone, twin


class Copies:
    """Copies of one model.

    Args:
        model: the model; it must not change as long as this is used.
    """

    def __init__(self, model: nn.Module) -> None:
        self.model = model
        self._kept: nn.Module | None = None

    @contextmanager
    def borrowed(self, dtype: torch.dtype | None, *, trains: bool) -> Iterator[nn.Module]:
        """Lend a copy that is as the model is now, in eval mode.

        Args:
            dtype: type of its real numbers; None for those that the model has.
            trains: whether it will run in train mode; it then shares no memory with the model.

        Yields:
            The copy.
        """
        if trains or dtype != torch.float32:
            copied = twin(self.model, dtype)
            yield (clone(copied) if trains and _share(copied, self.model) else copied).eval()
            return
        kept = self._kept
        copied = twin(self.model, dtype).eval() if kept is None else kept
        before, self._kept = _state(copied), None
        try:
            yield copied
        finally:
            if _is_same(before, _state(copied)):
                self._kept = copied


def _share(one: nn.Module, other: nn.Module) -> bool:
    known = {parameter.data_ptr() for parameter in other.parameters()}
    return any(parameter.data_ptr() in known for parameter in one.parameters())


def _state(model: nn.Module) -> list[tuple[Any, int]]:
    """Return everything that modules hold, and what changes with it."""
    return [
        (value, _version(value))
        for module in model.modules()
        for held in (vars(module), module._buffers, module._parameters)
        for value in held.values()
    ]


def _version(value: Any) -> int:
    if isinstance(value, Tensor):
        return 0 if value.is_inference() else value._version
    return len(value) if isinstance(value, (list, dict, set, deque)) else 0


def _is_same(before: list[tuple[Any, int]], now: list[tuple[Any, int]]) -> bool:
    if len(before) != len(now):
        return False
    return all(a[0] is b[0] and a[1] == b[1] for a, b in zip(before, now, strict=True))
