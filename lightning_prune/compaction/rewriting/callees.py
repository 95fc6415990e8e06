"""Callees: what a call in the user's source calls, and whether a correction fits it.

A correction may also come from a file. It stands in only for calls of torch's own functions, and of
methods that a tensor has, by the names that its class lists.
"""

from __future__ import annotations

import ast
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch._ops import OpOverloadPacket

from lightning_prune.compaction.rewriting.source import Source, value_of
from lightning_prune.errors import RewriteError
from lightning_prune.runtime.corrections import Correction


def called_name(source: Source, call: ast.Call) -> str:
    """Return the name of what is called, as its own module knows it.

    Args:
        source: the function in which the call stands.
        call: the call.
    """
    if isinstance(call.func, ast.Attribute):
        return call.func.attr
    return str(getattr(value_of(source.function, call.func), "__name__", ""))


def require_call(source: Source, call: ast.Call, correction: Correction) -> None:
    """Require that a correction may stand in for a call.

    Args:
        source: the function in which the call stands.
        call: the call.
        correction: what is to stand in for it.

    Raises:
        RewriteError: if it may not.
    """
    name = called_name(source, call).rstrip("_")
    fits = name in correction.calls if correction.calls else hasattr(torch.ops.aten, name)
    if not fits or not _is_torchs(value_of(source.function, call.func), call.func):
        raise RewriteError(f"{type(correction).__name__} does not fit {ast.unparse(call.func)}")


def _is_torchs(value: Any, function: ast.expr) -> bool:
    """Tell whether a function is torch's; a method of something unknown must be one of tensors."""
    if value is None:
        return isinstance(function, ast.Attribute) and hasattr(Tensor, function.attr)
    name = getattr(value, "__name__", "")
    owners = (torch, F, Tensor)
    is_public = any(getattr(owner, name, None) is value for owner in owners)
    return is_public or isinstance(value, OpOverloadPacket)
