"""Packed: a tensor in the form that takes the fewest bytes.

What is not zero stands as it is: the first bytes of all elements together, then the second ones,
and so on, for signs and exponents repeat while the rest does not. Zeros are left out, and where the
others stand is told. A packed tensor takes no more memory than its type and shape say; whoever
unpacks one from a file compares these with what the model has before.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lightning_prune.compaction.packing.frames import Bytes, expanded, require_packed, squeezed
from lightning_prune.compaction.packing.positions import FORMS, Used, positions, told
from lightning_prune.runtime.corrections.base import are_sizes

_DENSE = "dense"
_TYPES: Mapping[str, torch.dtype] = {
    name: getattr(torch, name)
    for name in (
        "bool uint8 int8 uint16 int16 uint32 int32 uint64 int64 float16 bfloat16 float32 float64 "
        "complex64 float8_e4m3fn float8_e5m2"
    ).split()
}
_NAMES = {dtype: name for name, dtype in _TYPES.items()}


@dataclass(frozen=True, eq=False)
class Packed:
    """A packed tensor.

    Args:
        data: frames of bytes, shape ``[bytes]``: where elements stand, unless the form is dense;
            then one for each byte of an element.
        form: ``"dense"``, or how the positions are told.
        dtype: of the tensor.
        shape: of the tensor.
        sizes: bytes of each frame.
    """

    data: Tensor
    form: str
    dtype: torch.dtype
    shape: tuple[int, ...]
    sizes: tuple[int, ...]

    def to_json(self) -> dict[str, Any]:
        """Return everything but the data as plain data."""
        name = _NAMES[self.dtype]
        return {"form": self.form, "dtype": name, "shape": self.shape, "sizes": self.sizes}

    @classmethod
    def from_json(cls, data: Tensor, found: Any) -> Packed:
        """Return a packed tensor of a file.

        Args:
            data: its frames.
            found: what `to_json` returned.

        Raises:
            ValueError: if the two do not fit.
        """
        match found:
            case {
                "form": str(form),
                "dtype": str(name),
                "shape": list(shape),
                "sizes": list(sizes),
            }:
                is_known = form in (_DENSE, *FORMS) and name in _TYPES and len(found) == 4
            case _:
                is_known = False
        require_packed(is_known, "told of by a form, a type, a shape and sizes")
        frames = _TYPES[name].itemsize + (form != _DENSE)
        require_packed(
            are_sizes(tuple(shape)) and are_sizes(tuple(sizes), frames), "told of by sizes"
        )
        fits = data.dtype == torch.uint8 and list(data.shape) == [sum(sizes)]
        require_packed(fits, "bytes, as many as its frames have")
        return cls(data, form, _TYPES[name], tuple(shape), tuple(sizes))

    def is_same(self, other: Packed) -> bool:
        """Tell whether another packed tensor holds the same, in the same form."""
        return self.to_json() == other.to_json() and torch.equal(self.data, other.data)


def pack_tensor(tensor: Tensor) -> Packed:
    """Return a tensor in the form that takes the fewest bytes.

    Args:
        tensor: of any shape.

    Raises:
        ImportError: if zstandard is missing.
        ValueError: if the tensor is of a type that files do not hold.
    """
    if tensor.dtype not in _NAMES:
        raise ValueError(
            f"Expected `model` to hold tensors of {', '.join(_TYPES)} for `compress=True`, but got "
            f"one of {tensor.dtype}. Save it without."
        )
    elements = _elements(tensor)
    used: Used = elements.any(1)  # type: ignore[assignment]
    form, frames = _DENSE, []
    if not used.all():
        forms = [(squeezed(data), form) for form, data in told(used)]
        shortest, form = min(forms, key=lambda item: len(item[0]))
        frames, elements = [shortest], elements[used]
    frames += [squeezed(np.ascontiguousarray(plane)) for plane in elements.T]
    data = torch.from_numpy(np.frombuffer(bytearray(b"".join(frames)), np.uint8))
    return Packed(data, form, tensor.dtype, tuple(tensor.shape), tuple(map(len, frames)))


def unpack_tensor(packed: Packed) -> Tensor:
    """Return the tensor that was packed.

    Args:
        packed: of a type and a shape that are known to be right.

    Raises:
        ImportError: if zstandard is missing.
        ValueError: if the data do not fit the form, the type and the shape.
    """
    size = math.prod(packed.shape)
    data, ends = packed.data.numpy().data, np.cumsum([0, *packed.sizes]).tolist()
    frames = [data[start:end] for start, end in pairwise(ends)]
    elements = np.zeros((size, packed.dtype.itemsize), np.uint8)
    places: Any = slice(None)
    count = size
    if packed.form != _DENSE:
        places = positions(packed.form, frames.pop(0), size)
        count = len(places)
    for index, frame in enumerate(frames):
        elements[places, index] = expanded(frame, count, count)
    is_right = packed.dtype != torch.bool or elements.max(initial=0) <= 1
    require_packed(bool(is_right), "zeros and ones where it is of truth values")
    return _tensor(elements, packed)


def _elements(tensor: Tensor) -> Bytes:
    """Return the bytes of each element, shape ``[elements, bytes]``; inputs of layers run last."""
    data = tensor.detach().cpu().resolve_conj().resolve_neg()
    data = (data.movedim(1, -1) if data.dim() > 2 else data).contiguous()
    data = torch.view_as_real(data) if data.is_complex() else data
    found: Bytes = data.reshape(-1).view(torch.uint8).numpy()
    return found.reshape(tensor.numel(), tensor.dtype.itemsize)


def _tensor(elements: Bytes, packed: Packed) -> Tensor:
    shape, data = packed.shape, torch.from_numpy(elements).reshape(-1)
    if packed.dtype.is_complex:
        data = torch.view_as_complex(data.view(torch.float32).reshape(-1, 2))
    data = data.view(packed.dtype)
    if len(shape) <= 2:
        return data.reshape(shape)
    return data.reshape(shape[0], *shape[2:], shape[1]).movedim(-1, 1).contiguous()
