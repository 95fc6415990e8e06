"""Operations on lists of tensors, run as operations on one tensor after the other.

``_foreach_mul_([a, b], 2)`` is ``a.mul_(2)`` and ``b.mul_(2)``: averages of weights are written so.
"""

from __future__ import annotations

from typing import Any

import torch
from torch._ops import OpOverload

_PREFIX = "aten::_foreach_"
_OTHER_NAMES = {"norm": "linalg_vector_norm"}
_WITH_A_VALUE = frozenset({"addcmul", "addcmul_", "addcdiv", "addcdiv_"})
"""Their fourth argument is an option of the operation on one tensor."""


def is_of_lists(func: OpOverload) -> bool:
    """Tell whether an operation works on lists of tensors, element by element."""
    return func._schema.name.startswith(_PREFIX)


def one_by_one(func: OpOverload, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Run an operation on lists as operations on their elements.

    Args:
        func: the operation.
        args: its positional arguments.
        kwargs: its keyword arguments.

    Returns:
        What it returns; ``NotImplemented`` if there is no such operation on one tensor.
    """
    name = func._schema.name.removeprefix(_PREFIX)
    single = getattr(torch.ops.aten, _OTHER_NAMES.get(name, name), None)
    if single is None:
        return NotImplemented
    lists = [a for a in (*args, *kwargs.values()) if isinstance(a, (list, tuple))]
    results = []
    for index in range(len(lists[0])):
        given = [_element(argument, index) for argument in args]
        options = {key: _element(argument, index) for key, argument in kwargs.items()}
        if name in _WITH_A_VALUE and len(given) > 3:
            options["value"] = given.pop()
        try:
            results.append(single(*given, **options))
        except (RuntimeError, TypeError):
            return NotImplemented
    return results if func._schema.returns else None


def _element(argument: Any, index: int) -> Any:
    return argument[index] if isinstance(argument, (list, tuple)) else argument
