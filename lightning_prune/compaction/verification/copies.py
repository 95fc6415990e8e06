"""Copies: what runs in place of a model, which is left alone.

Making a copy may take longer than running it. One that running leaves as it was is used again;
others are made anew for every trial, so that no trial sees what an earlier one has left behind.
Parameters take the most time: they are copied again only after a trial that has written to them.
"""

from __future__ import annotations

import operator
from collections import deque
from collections.abc import Iterable, Iterator
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
        self._kept: tuple[nn.Module, _State] | None = None
        self._lender: nn.Module | None = None
        self._versions: list[int] = []

    @contextmanager
    def borrowed(self, dtype: torch.dtype | None, *, trains: bool) -> Iterator[nn.Module]:
        """Lend a copy that is as the model is now, in eval mode.

        Args:
            dtype: type of its real numbers; None for those that the model has.
            trains: whether it will run in train mode.

        Yields:
            The copy. It shares no memory with the model, which may write to parameters as it runs.
        """
        if dtype != torch.float32:
            yield clone(self.model, dtype).eval()
            return
        if trains:
            yield self._made()
            return
        if self._kept is None:
            copied = self._made()
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

    def _made(self) -> nn.Module:
        """Return a copy in float32, with parameters that no other copy has written to."""
        if self._lender is None or self._versions != _versions_of(self._lender):
            self._lender = None  # before there is another one
            self._lender = clone(self.model, torch.float32)
            self._versions = _versions_of(self._lender)
        return twin(self._lender).eval()


def _versions_of(model: nn.Module) -> list[int]:
    """Return how often each parameter was written to, in this copy or through a twin of it."""
    return [parameter._version for parameter in model.parameters()]


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
