"""How much memory tensors hold."""

from __future__ import annotations

import gc

import torch
from torch import nn


def storages() -> dict[int, int]:
    """Return the bytes of the memory of all tensors that are alive, by its address."""
    gc.collect()
    return {
        tensor.untyped_storage().data_ptr(): tensor.untyped_storage().nbytes()
        for tensor in gc.get_objects()
        if type(tensor) in (torch.Tensor, nn.Parameter)
        and (tensor.device.type, tensor.layout) == ("cpu", torch.strided)
    }
