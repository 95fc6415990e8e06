"""Values: whether an argument of a corrected call is a tensor or a number, also in traces.

While `torch.jit.trace` or the ONNX exporter that is built on it records, sizes are tensors without
dimensions, and so is what is computed from them: the graph recorded so far tells which ones.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.fx import Proxy

_ARITHMETIC = frozenset(
    f"aten::{name}"
    for name in "add sub rsub mul div floor_divide remainder fmod pow neg abs reciprocal".split()
)


def is_tensor(value: object) -> bool:
    """Tell whether a value is a tensor, and not a number that a trace shows as one.

    Args:
        value: an argument of a call.

    Returns:
        False for what is no tensor without a trace.

    Raises:
        TypeError: if it stands for a value of any type, as in `torch.fx.symbolic_trace`.
    """
    if isinstance(value, Proxy):
        raise TypeError(
            "Expected the arguments of a compact model to be tensors and numbers, but got a Proxy "
            "of torch.fx, which does not tell them apart. Use torch.export or torch.jit.trace."
        )
    if not isinstance(value, Tensor):
        return False
    return not (torch.jit.is_tracing() and value.dim() == 0 and _is_made_of_sizes(value))  # type: ignore[attr-defined, no-untyped-call]


def is_whole(value: object) -> bool:
    """Tell whether a number is whole, and no bool, also one that a trace shows as a tensor."""
    if isinstance(value, Tensor):
        return not value.is_floating_point()
    return isinstance(value, (int, torch.SymInt)) and not isinstance(value, bool)


def _is_made_of_sizes(value: Tensor) -> bool:
    """Tell whether a tensor in a trace is a size, or arithmetic with sizes and written numbers."""
    if value.requires_grad:
        return False
    waiting, found = [torch._C._get_value_trace(value).node()], False  # type: ignore[attr-defined]
    while waiting:
        node = waiting.pop()
        if node.kind() in _ARITHMETIC:
            waiting += [argument.node() for argument in node.inputs()]
        elif node.kind() == "prim::NumToTensor":
            found = True
        elif node.kind() != "prim::Constant":
            return False
    return found
