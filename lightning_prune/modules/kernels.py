"""Kernels that want their model in a certain way: gradients in eval mode, weights in one piece."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel


@contextmanager
def differentiable(model: nn.Module) -> Iterator[None]:
    """Let a model in eval mode have gradients within, whatever it is made of.

    On GPUs, the recurrent layers of cuDNN have none in eval mode: theirs are then computed without.

    Args:
        model: any module.

    Yields:
        Nothing.
    """
    recurrent = [module for module in model.modules() if isinstance(module, nn.RNNBase)]
    weights = [weight for module in recurrent for weight in module.parameters()]
    enabled = torch.backends.cudnn.enabled
    torch.backends.cudnn.enabled = enabled and not any(weight.is_cuda for weight in weights)
    try:
        yield
    finally:
        torch.backends.cudnn.enabled = enabled


@contextmanager
def twice_differentiable(model: nn.Module) -> Iterator[None]:
    """Let a model have second derivatives within, too: the fused kernels of attention have none.

    Args:
        model: any module.

    Yields:
        Nothing.
    """
    with differentiable(model), sdpa_kernel(SDPBackend.MATH):
        yield


def flatten_recurrent(model: nn.Module) -> None:
    """Lay the weights of every recurrent layer in one piece, as cuDNN takes them.

    Args:
        model: any module; on the CPU nothing changes. Parameters keep their identity.
    """
    for module in model.modules():
        if isinstance(module, nn.RNNBase):
            module.flatten_parameters()
