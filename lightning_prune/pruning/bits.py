"""Boolean tensors as packed bits, for checkpoints: an eighth of the size."""

from __future__ import annotations

import torch
from torch import Tensor


def pack(flags: Tensor) -> Tensor:
    """Return eight flags in each byte.

    Args:
        flags: boolean, shape ``[n]``.

    Returns:
        uint8 on the CPU, shape ``[ceil(n / 8)]``; the first flag is the lowest bit.

    Examples:
        >>> pack(torch.tensor([True, False, True]))
        tensor([5], dtype=torch.uint8)
    """
    flags = flags.cpu()
    padded = torch.nn.functional.pad(flags.to(torch.uint8), (0, -flags.numel() % 8))
    return (padded.view(-1, 8) << torch.arange(8, dtype=torch.uint8)).sum(1).to(torch.uint8)


def unpack(packed: Tensor, n: int) -> Tensor:
    """Return the flags that `pack` has packed.

    Args:
        packed: uint8, shape ``[ceil(n / 8)]``.
        n: number of flags.

    Returns:
        Boolean, shape ``[n]``.

    Examples:
        >>> unpack(torch.tensor([5], dtype=torch.uint8), 3)
        tensor([ True, False,  True])
    """
    bits = (packed.unsqueeze(1) >> torch.arange(8, dtype=torch.uint8, device=packed.device)) & 1
    return bits.flatten()[:n].bool()
