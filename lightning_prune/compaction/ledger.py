"""Ledger: what a model was like before each change, so that every change can be taken back.

An entry is written before the change. Taking it back may be repeated, also after an interruption in
the middle of either. Attributes are written to a module's own dictionary: no code of the user's
class runs.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from typing_extensions import override

from lightning_prune.compaction.interrupts import deferred_interrupts

_MISSING = object()


class _Entry(ABC):
    """One thing as it was."""

    @abstractmethod
    def restore(self) -> None:
        """Bring it back; it does not matter how often."""


@dataclass(frozen=True, eq=False)
class _Tensor(_Entry):
    tensor: Tensor
    data: Tensor
    gradient: Tensor | None
    requires_grad: bool

    @override
    def restore(self) -> None:
        """Bring back what the tensor held, and its gradient."""
        if self.tensor.is_leaf:
            self.tensor.requires_grad_(self.requires_grad)
        hold(self.tensor, self.data)
        if self.tensor.is_leaf:
            self.tensor.grad = self.gradient


@dataclass(frozen=True, eq=False)
class _Attribute(_Entry):
    module: nn.Module
    name: str
    value: Any

    @override
    def restore(self) -> None:
        """Bring back the attribute, or take it away again."""
        if self.value is _MISSING:
            vars(self.module).pop(self.name, None)
        else:
            vars(self.module)[self.name] = self.value


@dataclass(frozen=True, eq=False)
class _Class(_Entry):
    module: nn.Module
    kind: type[nn.Module]

    @override
    def restore(self) -> None:
        """Bring back the class."""
        object.__setattr__(self.module, "__class__", self.kind)


class Ledger:
    """Changes to one model, in the order in which they were made."""

    def __init__(self) -> None:
        self._entries: list[_Entry] = []

    def mark(self) -> int:
        """Return a mark to which `undo` can go back."""
        return len(self._entries)

    def undo(self, to: int = 0) -> None:
        """Take back every change since a mark, the last one first.

        A keyboard interrupt waits until all of it is done. Whatever else ends this early, a second
        call goes on where it ended.
        """
        with deferred_interrupts():
            while len(self._entries) > to:
                self._entries[-1].restore()
                self._entries.pop()

    def replace(self, tensor: Tensor, data: Tensor) -> None:
        """Let ``tensor`` hold ``data`` from now on; its gradient is dropped.

        What is empty asks for no gradient any more: there is none to wait for.
        """
        self._write(tensor)
        layout = _layout(tensor)
        if tensor.is_leaf:
            tensor.grad = None
            tensor.requires_grad_(tensor.requires_grad and data.numel() > 0)
        hold(tensor, data.contiguous(memory_format=layout))

    def freeze(self, tensor: Tensor) -> None:
        """Let ``tensor`` ask for no gradient any more."""
        self._write(tensor)
        tensor.grad = None
        tensor.requires_grad_(False)

    def _write(self, tensor: Tensor) -> None:
        gradient = tensor.grad if tensor.is_leaf else None
        self._entries.append(_Tensor(tensor, tensor.data, gradient, tensor.requires_grad))

    def set(self, module: nn.Module, name: str, value: Any) -> None:
        """Set an attribute in a module's own dictionary, if it differs."""
        old = vars(module).get(name, _MISSING)
        if old is _MISSING or old != value:
            self._entries.append(_Attribute(module, name, old))
            vars(module)[name] = value

    def set_class(self, module: nn.Module, kind: type[nn.Module]) -> None:
        """Let ``module`` be of another class.

        Raises:
            TypeError: if what it holds does not fit the class.
        """
        if type(module) is not kind:
            self._entries.append(_Class(module, type(module)))
            object.__setattr__(module, "__class__", kind)


def hold(tensor: Tensor, data: Tensor) -> None:
    """Let ``tensor`` hold ``data``, and autograd forget the shape that it had.

    While an output of an earlier forward pass lives, so does the node that accumulates the
    tensor's gradient, and it expects the old shape. A change of type is what makes autograd drop
    it.

    Args:
        tensor: a parameter or buffer.
        data: what it is to hold.
    """
    if tensor.requires_grad:
        other = torch.float32 if tensor.dtype != torch.float32 else torch.float64
        tensor.data = torch.empty(0, dtype=other, device=tensor.device)
    tensor.data = data


def _layout(tensor: Tensor) -> torch.memory_format:
    """Return the memory format of a tensor: channels last stays channels last."""
    by_rank = {4: torch.channels_last, 5: torch.channels_last_3d}
    wanted = by_rank.get(tensor.dim(), torch.contiguous_format)
    plain = tensor.is_contiguous() or not tensor.is_contiguous(memory_format=wanted)
    return torch.contiguous_format if plain else wanted
