"""Zeros: where tensors hold nothing but zeros. What is no number counts as something."""

from __future__ import annotations

from torch import Tensor

from lightning_prune.modules.shards import is_sharded, whole

_GLANCE = 256
_FEW = 8


def is_zero(tensor: Tensor) -> bool:
    """Return whether a tensor holds nothing but zeros.

    Args:
        tensor: of any type and shape.
    """
    is_long = tensor.numel() > _GLANCE and not is_sharded(tensor) and tensor.is_contiguous()
    if is_long and bool(tensor.view(-1)[:_GLANCE].any()):  # as in most of them
        return False
    if is_long and _has_order(tensor):
        return not bool(_either(tensor.view(-1), 0))
    return not bool(tensor.any())


def where_not_zero(tensor: Tensor, dim: int) -> Tensor:
    """Return where along a dimension a tensor holds anything but zeros.

    Args:
        tensor: of any type and shape.
        dim: the dimension; -1 for all of its elements, one by one.

    Returns:
        Boolean, shape ``[size of dim]``.
    """
    others = [d for d in range(tensor.dim()) if d != dim]
    if dim < 0 or not others:
        return whole(tensor != 0).flatten()
    if is_sharded(tensor):  # which knows no `any` along dimensions, but counts
        return whole((tensor != 0).sum(others)) > 0
    if not (_has_order(tensor) and tensor.is_contiguous() and tensor.numel()):
        return (tensor != 0).any(others)
    # The largest and the lowest number are found several times as fast as any of booleans.
    size = tensor.shape[dim]
    lines = tensor.reshape(-1, size, tensor.shape[dim + 1 :].numel())
    found = (lines[:_FEW, :, :_FEW] != 0).any(2).any(0)
    if bool(found.all()):  # as in most of them
        return found
    lines = lines.flatten(1)
    if len(lines) > 1:
        lines = _either(lines, 0).unsqueeze(0).to(tensor.dtype)
    lines = lines.reshape(size, -1)
    return _either(lines, 1) if lines.shape[1] > 1 else lines[:, 0] != 0


def _either(tensor: Tensor, dim: int) -> Tensor:
    return (tensor.amax(dim) != 0) | (tensor.amin(dim) != 0)


def _has_order(tensor: Tensor) -> bool:
    """Tell whether torch finds the largest of such numbers; of eight bits it does not."""
    return tensor.is_floating_point() and tensor.element_size() > 1
