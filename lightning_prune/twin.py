"""A twin: the same model a second time, over the same storage.

A twin has its own modules, training flags, hooks and caches, but its parameters and buffers are
views of the original's memory. What runs on a twin leaves the user's modules untouched, and a
later replacement of the original's tensors leaves the twin as it was. It costs no memory.
"""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn


def twin(model: nn.Module) -> nn.Module:
    """Return a structural copy of ``model`` whose tensors share the storage of the original's.

    Tied parameters stay tied. Tensors kept as plain attributes of modules are shared, not copied.

    Args:
        model: any module.

    Returns:
        A module of the same class.
    """
    memo: dict[int, object] = {}
    for module in model.modules():
        for tensor in vars(module).values():
            if isinstance(tensor, Tensor):
                memo[id(tensor)] = tensor
    for parameter in model.parameters():
        memo[id(parameter)] = nn.Parameter(parameter.detach(), parameter.requires_grad)
    for buffer in model.buffers():
        memo[id(buffer)] = buffer.detach()
    with torch.no_grad():
        return copy.deepcopy(model, memo)
