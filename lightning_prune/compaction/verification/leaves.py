"""Leaves: everything in what a model returns that can be compared with what another returns.

Tensors and arrays wherever they are; numbers and words only in plain containers, because objects
keep much in their attributes that is no result.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from lightning_prune.modules.nesting import inside_function

_VALUES = (bool, int, float, complex, str, bytes)


def leaves_of(output: Any) -> list[Any]:
    """Return the tensors, numbers and words in what a model returned, in a stable order.

    Args:
        output: any nesting of tuples, lists, dicts, dataclasses and objects with attributes.

    Returns:
        Tensors, for arrays as well, and values of Python's own types.
    """
    return list(_leaves(output, set(), is_plain=True))


def is_finite_number(leaf: Any) -> bool:
    """Tell whether a leaf is, or holds, a real number that is finite."""
    if isinstance(leaf, Tensor):
        is_real = leaf.is_floating_point() or leaf.is_complex()
        return is_real and bool(leaf.isfinite().any())
    return isinstance(leaf, float) and math.isfinite(leaf)


def _leaves(nested: Any, seen: set[int], *, is_plain: bool) -> Iterator[Any]:
    for leaf in tree_leaves(nested):
        if isinstance(leaf, Tensor):
            yield leaf if leaf.layout == torch.strided else leaf.to_dense()
        elif isinstance(leaf, (np.ndarray, np.generic)):
            yield _from_numpy(np.asarray(leaf))
        elif isinstance(leaf, _VALUES):
            yield from [leaf] if is_plain else []
        elif id(leaf) not in seen and not isinstance(leaf, (nn.Module, type)):
            seen.add(id(leaf))
            contents = _contents(leaf)
            inside = inside_function(leaf) if contents is None else contents
            inside = getattr(leaf, "__dict__", ()) if inside is None else inside
            yield from _leaves(inside, seen, is_plain=is_plain and contents is not None)


def _contents(leaf: Any) -> Any:
    """Return what a plain container holds that torch does not know as one; None for others."""
    if isinstance(leaf, Mapping):
        return dict(leaf)
    if isinstance(leaf, (tuple, list)):  # torch.Size
        return list(leaf)
    return vars(leaf) if dataclasses.is_dataclass(leaf) and hasattr(leaf, "__dict__") else None


def _from_numpy(array: np.ndarray[Any, Any]) -> Any:
    if array.dtype.kind in "biufc":
        return torch.as_tensor(array.copy())
    return str(array.tolist())
