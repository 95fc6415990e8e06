"""Memory: is there room for a copy of a model in float64?"""

from __future__ import annotations

import os

import torch
from torch import nn

_COPIES = 3
_BYTES = 8


def has_room(model: nn.Module) -> bool:
    """Tell whether copies in float64 fit into the memory of the model's device."""
    tensors = [*model.parameters(), *model.buffers()]
    wanted = _COPIES * _BYTES * sum(t.numel() for t in tensors)
    device = tensors[0].device if tensors else torch.device("cpu")
    if device.type == "cuda":
        return bool(torch.cuda.mem_get_info(device)[0] > wanted)
    return device.type == "cpu" and _free_memory() > wanted


def _free_memory() -> float:
    try:
        return float(os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))
    except (ValueError, OSError, AttributeError):
        return float("inf")
