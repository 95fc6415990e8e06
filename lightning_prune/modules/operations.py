"""Operations of torch, as a dispatch mode sees them: their names and what their schemas say."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor
from torch._ops import OpOverload


@lru_cache(maxsize=4096)
def base_name(op: OpOverload) -> str:
    """Return the name of an operation without its overload and without the in-place mark.

    >>> import torch
    >>> base_name(torch.ops.aten.relu_.default)
    'aten::relu'
    """
    name: str = op._schema.name
    return name[:-1] if name.endswith("_") and not name.endswith("__") else name


@lru_cache(maxsize=4096)
def argument_names(op: OpOverload) -> tuple[str, ...]:
    """Return the names of the arguments of an operation, in order."""
    return tuple(argument.name for argument in op._schema.arguments)


@lru_cache(maxsize=4096)
def written_arguments(op: OpOverload) -> tuple[tuple[int, str], ...]:
    """Return position and name of the arguments that an operation writes into, by its schema."""
    arguments = enumerate(op._schema.arguments)
    return tuple((i, a.name) for i, a in arguments if a.alias_info and a.alias_info.is_write)


def written_tensors(op: OpOverload, args: Sequence[Any], kwargs: Mapping[str, Any]) -> list[Tensor]:
    """Return the tensors that a call of an operation writes into.

    Args:
        op: the operation.
        args: its positional arguments.
        kwargs: its keyword arguments.
    """
    given = (args[i] if i < len(args) else kwargs.get(n) for i, n in written_arguments(op))
    each = (one for value in given for one in (value if isinstance(value, list) else [value]))
    return [one for one in each if isinstance(one, Tensor)]


def memory_of(tensor: Tensor) -> int:
    """Return what tells the memory of a tensor from others; a sparse tensor has its own."""
    if tensor.layout != torch.strided:
        return -id(tensor)
    return int(tensor.untyped_storage()._cdata)
