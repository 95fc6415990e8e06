"""Result shapes: what the costly operations return, but for the numbers in it.

Each function takes the arguments of one kind of operation and returns a tensor as the operation
would return it: of the same sizes and strides, with whatever is in its memory. It returns None
where it is not certain of these, or where the operation might fail: then that itself must run.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor, nn
from torch._ops import OpOverload

Outline = Callable[[Sequence[Any]], Tensor | None]
"""Takes all arguments of an operation, in order, and returns what stands for its result."""

PLAIN = frozenset({Tensor, nn.Parameter})
"""The types of tensors whose operations are torch's own."""

_aten = torch.ops.aten


def outlined(func: OpOverload, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Tensor | None:
    """Return what an operation would return, but for its numbers; None if it must run.

    Args:
        func: the operation.
        args: its positional arguments.
        kwargs: its keyword arguments.
    """
    outline = _OUTLINES.get(func)
    if outline is None:
        return None
    defaults = _defaults(func)
    if kwargs or len(args) < len(defaults):
        names = list(defaults)[len(args) :]
        args = (*args, *(kwargs[n] if n in kwargs else defaults[n] for n in names))
    return outline(args)


@lru_cache(maxsize=1024)
def _defaults(func: OpOverload) -> dict[str, Any]:
    return {argument.name: argument.default_value for argument in func._schema.arguments}


def _is_simple(*tensors: Any) -> bool:
    """Tell whether tensors, or None, are plain ones on the CPU, of one common real type."""
    first = tensors[0]
    if type(first) not in PLAIN or first.dtype not in {torch.float32, torch.float64}:
        return False
    return all(
        t is None
        or (
            type(t) in PLAIN
            and t.dtype == first.dtype
            and t.device.type == "cpu"
            and t.layout == torch.strided
            and not t.is_neg()
            and t.numel() > 0
        )
        for t in tensors
    )


def _unset(shape: Sequence[int], like: Tensor) -> Tensor:
    return torch.empty(shape, dtype=like.dtype)


def _linear(args: Sequence[Any]) -> Tensor | None:
    # y[..., o] = x[..., i] w[o, i] + b[o]
    x, weight, bias = args
    if not _is_simple(x, weight, bias) or not x.is_contiguous() or weight.dim() != 2:
        return None
    fits = x.dim() > 1 and x.shape[-1] == weight.shape[1]
    if not fits or (bias is not None and bias.shape != weight.shape[:1]):
        return None
    return _unset((*x.shape[:-1], weight.shape[0]), x)


def _any_convolution(args: Sequence[Any]) -> Tensor | None:
    # what conv1d, conv2d and conv3d become where gradients could be asked for
    x, weight, bias, stride, padding, dilation, transposed, _, groups = args
    if transposed or x.dim() < 3:
        return None
    return _convolution(x.dim() - 2)((x, weight, bias, stride, padding, dilation, groups))


@lru_cache(maxsize=8)
def _convolution(dims: int) -> Outline:
    def outline(args: Sequence[Any]) -> Tensor | None:
        # y[b, o, q] = x[b, i, stride q + dilation k - padding] w[o, i, k] + bias[o]
        x, weight, bias, *steps, groups = args
        if not _is_simple(x, weight, bias) or x.dim() != dims + 2 or weight.dim() != dims + 2:
            return None
        fits = x.shape[1] == weight.shape[1] * groups and weight.shape[0] % groups == 0
        last = _is_channels_last(x)
        if not (fits and (last or _is_channels_first(x)) and _is_channels_first(weight)):
            return None
        if bias is not None and bias.shape != weight.shape[:1]:
            return None
        each = [[*step] * dims if len(step) == 1 else [*step] for step in steps]
        lengths = zip(x.shape[2:], weight.shape[2:], *each, strict=True)
        sizes = [
            (size + 2 * padding - dilation * (kernel - 1) - 1) // stride + 1
            for size, kernel, stride, padding, dilation in lengths
        ]
        if min(sizes) <= 0 or (last and min(weight.shape[0], *sizes) == 1):
            return None
        shape = (x.shape[0], weight.shape[0], *sizes)
        if last:
            return torch.empty(shape, dtype=x.dtype, memory_format=torch.channels_last)
        return _unset(shape, x)

    return outline


def _is_channels_last(tensor: Tensor) -> bool:
    """Tell whether images lie in memory with their channels last, and in no other order."""
    is_so = tensor.dim() == 4 and tensor.is_contiguous(memory_format=torch.channels_last)
    return is_so and min(tensor.shape[1:]) > 1


def _is_channels_first(tensor: Tensor) -> bool:
    """Tell whether a tensor lies in memory in the order of its dimensions, also those of size 1."""
    step = 1
    for size, stride in zip(reversed(tensor.shape), reversed(tensor.stride()), strict=True):
        if stride != step:
            return False
        step *= size
    return True


def _matmul(args: Sequence[Any]) -> Tensor | None:
    # y[..., r, c] = a[..., r, i] b[..., i, c]
    a, b = args
    if not _is_simple(a, b) or not a.is_contiguous():
        return None
    alike = a.dim() == b.dim() > 2 and a.shape[:-2] == b.shape[:-2] and a.shape[-1] == b.shape[-2]
    return _unset((*a.shape[:-1], b.shape[-1]), a) if alike else None


def _product(args: Sequence[Any]) -> Tensor | None:
    # y[r, c] = a[r, i] b[i, c], with or without leading dimensions that are alike
    a, b = args
    if not _is_simple(a, b) or a.dim() != b.dim() or a.dim() < 2:
        return None
    fits = a.shape[:-2] == b.shape[:-2] and a.shape[-1] == b.shape[-2]
    return _unset((*a.shape[:-1], b.shape[-1]), a) if fits else None


def _product_and_bias(args: Sequence[Any]) -> Tensor | None:
    # y[r, c] = beta bias[c] + alpha a[r, i] b[i, c]
    bias, a, b = args[:3]
    if not _is_simple(a, b, bias) or bias.dim() != 1 or a.dim() != 2 or b.dim() != 2:
        return None
    fits = a.shape[1] == b.shape[0] and bias.shape == b.shape[1:]
    return _unset((a.shape[0], b.shape[1]), a) if fits else None


def _batch_norm(args: Sequence[Any]) -> Tensor | None:
    # y[b, c, ...] = (x[b, c, ...] - mean[c]) / sqrt(var[c] + eps) weight[c] + bias[c]
    x, weight, bias, mean, var, training = args[:6]
    of_channels = [t for t in (weight, bias, mean, var) if t is not None]
    if training or mean is None or not _is_simple(x, *of_channels) or x.dim() < 2:
        return None
    if not x.is_contiguous() or any(t.shape != x.shape[1:2] for t in of_channels):
        return None
    return _unset(x.shape, x)


def _layer_norm(args: Sequence[Any]) -> Tensor | None:
    # y[..., c] = (x[..., c] - mean) / sqrt(var + eps) weight[c] + bias[c]
    x, shape, weight, bias = args[:4]
    if not _is_simple(x, weight, bias) or not x.is_contiguous() or len(shape) > x.dim():
        return None
    fits = all(t is None or t.shape == torch.Size(shape) for t in (weight, bias))
    return (
        _unset(x.shape, x)
        if fits and x.shape[x.dim() - len(shape) :] == torch.Size(shape)
        else None
    )


def _elementwise(args: Sequence[Any]) -> Tensor | None:
    # y = f(x)
    x = args[0]
    return _unset(x.shape, x) if _is_simple(x) and x.is_contiguous() else None


def _in_place(args: Sequence[Any]) -> Tensor | None:
    # x = f(x)
    x: Tensor = args[0]
    return x if _is_simple(x) and x.is_contiguous() and not x.requires_grad else None


def _sum(args: Sequence[Any]) -> Tensor | None:
    # y = a + alpha b
    a, b = args[:2]
    if not _is_simple(a, b) or a.shape != b.shape:
        return None
    return _unset(a.shape, a) if a.is_contiguous() and b.is_contiguous() else None


def _sum_in_place(args: Sequence[Any]) -> Tensor | None:
    # a = a + alpha b
    a: Tensor = args[0]
    fits = _is_simple(a, args[1]) and a.shape == args[1].shape
    is_free = fits and not a.requires_grad
    return a if is_free and a.is_contiguous() and args[1].is_contiguous() else None


def _cat(args: Sequence[Any]) -> Tensor | None:
    # y[..., c, ...] = the tensors, one after the other
    tensors, dim = args
    if not tensors or not _is_simple(*tensors):
        return None
    first = tensors[0]
    dim = dim % first.dim() if first.dim() else 0
    rest = {(*t.shape[:dim], *t.shape[dim + 1 :]) for t in tensors}
    if len(rest) > 1 or not all(map(_is_channels_first, tensors)):
        return None
    size = sum(t.shape[dim] for t in tensors)
    return _unset((*first.shape[:dim], size, *first.shape[dim + 1 :]), first)


_OUTLINES: dict[Any, Outline] = {
    _aten.linear.default: _linear,
    _aten.conv1d.default: _convolution(1),
    _aten.conv2d.default: _convolution(2),
    _aten.conv3d.default: _convolution(3),
    _aten.convolution.default: _any_convolution,
    _aten.matmul.default: _matmul,
    _aten.mm.default: _product,
    _aten.bmm.default: _product,
    _aten.addmm.default: _product_and_bias,
    _aten.batch_norm.default: _batch_norm,
    _aten.layer_norm.default: _layer_norm,
    _aten.cat.default: _cat,
    _aten.add.Tensor: _sum,
    _aten.add_.Tensor: _sum_in_place,
    **dict.fromkeys(
        [
            *(_aten.relu.default, _aten.relu6.default, _aten.gelu.default, _aten.silu.default),
            *(_aten.hardswish.default, _aten.hardsigmoid.default, _aten.hardtanh.default),
            *(_aten.sigmoid.default, _aten.tanh.default, _aten.leaky_relu.default),
        ],
        _elementwise,
    ),
    **dict.fromkeys(
        [
            *(_aten.relu_.default, _aten.relu6_.default, _aten.silu_.default),
            *(_aten.hardswish_.default, _aten.hardsigmoid_.default, _aten.hardtanh_.default),
            *(_aten.sigmoid_.default, _aten.tanh_.default, _aten.leaky_relu_.default),
        ],
        _in_place,
    ),
}
