"""Size: how many parameters a module has and how many bytes it stores.

A zero takes as much room as any other number: only compaction makes a model smaller.
"""

from __future__ import annotations

from torch import Tensor, nn


def count_parameters(model: nn.Module) -> int:
    """Count the elements of all parameters, frozen ones too, tied ones once.

    Args:
        model: any module.

    Returns:
        Number of elements.

    Example:
        >>> count_parameters(nn.Linear(16, 32)) == 16 * 32 + 32
        True
    """
    return sum(parameter.numel() for parameter in model.parameters())


def count_bytes(model: nn.Module) -> int:
    """Count the bytes of parameters and persistent buffers: what the state dict takes on disk.

    Args:
        model: any module.

    Returns:
        Bytes of tensor data, without the few that a file format adds; tensors that lie on the same
        memory count once.

    Example:
        >>> count_bytes(nn.Linear(16, 32)) == 4 * (16 * 32 + 32)
        True
    """
    stored = [value for value in model.state_dict().values() if isinstance(value, Tensor)]
    # A state dict detaches its tensors: only their address tells which of them are tied. Tensors
    # without an address (on the meta device, say) are told apart by themselves.
    sizes = {
        (tensor.data_ptr() or id(tensor), tensor.numel()): tensor.numel() * tensor.element_size()
        for tensor in stored
    }
    return sum(sizes.values())
