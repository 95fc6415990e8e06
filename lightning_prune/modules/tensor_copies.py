"""Copies of tensors that keep their ties: what shared memory before does so among the copies.

A copy is a leaf: it holds numbers, not the way in which they were computed. Nothing here looks at
modules.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import torch
from torch import Tensor, nn

_Memory: TypeAlias = tuple[int, int, torch.device]


class TensorCopies:
    """Copies tensors, one call for each.

    Args:
        shares: tells of a tensor whether its copy, and those of its views that are copied after it,
            are to lie in the same memory.
        dtype: floating type of the copies; complex numbers take the type that belongs to it. None
            to leave types as they are. What is in another type cannot be shared.
    """

    def __init__(self, shares: Callable[[Tensor], bool], dtype: torch.dtype | None = None) -> None:
        self._shares = shares
        self.dtype = dtype
        self._shared: set[_Memory] = set()
        self._lines: dict[tuple[_Memory, torch.dtype], Tensor] = {}

    def __call__(self, tensor: Tensor) -> Tensor:
        """Return the copy of ``tensor``, of the same class and with the same attributes."""
        made = self._data(tensor)
        if is_parameter(tensor):
            made = nn.Parameter(made, tensor.requires_grad)
        if is_plain(tensor):
            made = made if type(made) is type(tensor) else made.as_subclass(type(tensor))
            vars(made).update(vars(tensor))
        wants_gradient = tensor.requires_grad and tensor.is_leaf
        return made.requires_grad_(wants_gradient) if made.is_floating_point() else made

    def _data(self, tensor: Tensor) -> Tensor:
        dtype = self._dtype_of(tensor)
        in_memory = is_plain(tensor) and _is_strided(tensor)
        if dtype == tensor.dtype and self._is_shared(tensor, in_memory):
            return tensor.detach()
        if not in_memory:
            return _resolved(tensor.detach()).clone().to(dtype)
        key = _memory(tensor), tensor.dtype
        if key not in self._lines and _fills(tensor, key[0]):
            # What is copied after it and lies in the same memory finds it there.
            made = self._lines[key] = tensor.detach().to(dtype, copy=True)
            return made
        line = self._line(tensor, key, dtype)
        return line.new_empty(0).set_(
            line.untyped_storage(), tensor.storage_offset(), tensor.size(), tensor.stride()
        )

    def _is_shared(self, tensor: Tensor, in_memory: bool) -> bool:
        if not in_memory or not tensor.numel():
            return self._shares(tensor)
        if self._shares(tensor):
            self._shared.add(_memory(tensor))
        return _memory(tensor) in self._shared

    def _dtype_of(self, tensor: Tensor) -> torch.dtype:
        if self.dtype is not None and tensor.is_floating_point():
            return self.dtype
        if self.dtype is not None and tensor.is_complex():
            return self.dtype.to_complex()
        return tensor.dtype

    def _line(self, tensor: Tensor, key: tuple[_Memory, torch.dtype], dtype: torch.dtype) -> Tensor:
        """Return a tensor whose memory is the copy of all the memory that ``tensor`` lies in."""
        if key not in self._lines:
            source = torch.empty(0, dtype=tensor.dtype, device=tensor.device)
            source.set_(tensor.untyped_storage())
            self._lines[key] = source.to(dtype, copy=True)
        return self._lines[key]


def _fills(tensor: Tensor, memory: _Memory) -> bool:
    """Tell whether a tensor fills its memory in order."""
    return tensor.is_contiguous() and tensor.numel() * tensor.element_size() == memory[1]


def is_parameter(value: object) -> bool:
    """Return whether something is a parameter: torch's own question takes long to answer no."""
    kind = type(value)
    if kind is Tensor or kind is nn.Parameter:
        return kind is nn.Parameter
    return issubclass(kind, Tensor) and isinstance(value, nn.Parameter)


def is_plain(tensor: Tensor) -> bool:
    """Return whether a tensor has attributes only that were set on it; it wraps no other one."""
    return type(tensor).__torch_dispatch__ is Tensor.__torch_dispatch__


def _is_strided(tensor: Tensor) -> bool:
    """Tell whether a tensor is a view of a line of numbers."""
    return tensor.layout == torch.strided and not (
        tensor.is_meta
        or tensor.is_quantized
        or tensor.is_nested
        or tensor.is_conj()
        or tensor.is_neg()
    )


def _resolved(tensor: Tensor) -> Tensor:
    """Return a tensor whose numbers are those in its memory."""
    tensor = tensor.resolve_conj() if tensor.is_conj() else tensor
    return tensor.resolve_neg() if tensor.is_neg() else tensor


def _memory(tensor: Tensor) -> _Memory:
    storage = tensor.untyped_storage()
    return storage.data_ptr(), storage.nbytes(), tensor.device
