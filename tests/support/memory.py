"""How much memory tensors hold."""

from __future__ import annotations

import gc

import torch


def bytes_of_tensors() -> int:
    """Return the bytes of all tensors that are alive, memory that they share counted once."""
    gc.collect()
    storages = {
        tensor.untyped_storage().data_ptr(): tensor.untyped_storage().nbytes()
        for tensor in gc.get_objects()
        if issubclass(type(tensor), torch.Tensor) and tensor.device.type == "cpu"
    }
    return sum(storages.values())
