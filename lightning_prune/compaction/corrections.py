"""Corrections: what stands in for a call of the user's code whose sizes are no longer right.

Each takes what it needs to know, then the function that was called and its arguments, and calls it
as the model of full size would have: with the sizes that fit now, the numbers that held then, and
statistics over the width that there was. They run inside compact models.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from types import FrameType
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

Value = Any
"""What JSON can hold."""


@dataclass(frozen=True)
class Correction:
    """One correction as data.

    Args:
        kind: a key of `KINDS`.
        value: what that correction needs to know; plain data.
    """

    kind: str
    value: Value

    def function(self) -> Callable[..., Any]:
        """Return what to call in place of the user's call, with the callee as first argument."""
        return partial(KINDS[self.kind], self.value)


def resize(
    sizes: Sequence[tuple[int, int]], call: Callable[..., Any], *args: Any, **kw: Any
) -> Any:
    """Call with other sizes; ``sizes`` lists places among the sizes and what stands there."""
    changed = dict(sizes)
    for name in ("size", "shape", "sizes"):
        if name in kw:
            return call(*args, **kw | {name: _replaced(kw[name], changed)})
    if args and isinstance(args[-1], (tuple, list)):
        return call(*args[:-1], _replaced(args[-1], changed), **kw)
    return call(*_replaced(args, changed), **kw)


def resplit(parts: Sequence[int], call: Callable[..., Any], *args: Any, **kw: Any) -> Any:
    """Split into parts of other sizes."""
    for name in ("split_size_or_sections", "split_size", "split_sizes"):
        if name in kw:
            return call(*args, **kw | {name: list(parts)})
    place = 1 if args and isinstance(args[0], Tensor) else 0
    return call(*args[:place], list(parts), *args[place + 1 :], **kw)


def recut(bounds: Sequence[int], x: Tensor, index: Any) -> Tensor:
    """Index with other bounds; ``bounds`` holds the dimension, the start and the end."""
    dim, start, end = bounds
    places = index if isinstance(index, tuple) else (index,)
    taken = sum(place is not None and place is not Ellipsis for place in places)
    done: list[Any] = []
    at = 0
    for place in places:
        if place is Ellipsis:
            at += x.dim() - taken
        elif isinstance(place, slice):
            done.append((at, place))
            at += 1
        else:
            at += place is None
        if not isinstance(place, slice):
            done.append((-1, place))
    changed = (slice(start, end) if found == dim else place for found, place in done)
    return x[tuple(changed)]


def renarrow(bounds: Sequence[int], call: Callable[..., Any], *args: Any, **kw: Any) -> Any:
    """Narrow with another start and length."""
    first = 1 if args and isinstance(args[0], Tensor) else 0
    given = dict(zip(("dim", "start", "length"), args[first:], strict=False)) | kw
    return call(*args[:first], **given | {"start": bounds[0], "length": bounds[1]})


def pin(known: Sequence[Any], value: Any) -> Any:
    """Return the number in ``known`` where ``value`` is a number, and a tensor as it is."""
    return value if isinstance(value, Tensor) else known[0]


def pin_argument(known: Sequence[Any], call: Callable[..., Any], *args: Any, **kw: Any) -> Any:
    """Call with another number; ``known`` holds the number, its name and its place."""
    number, name, place = known
    if name in kw:
        return call(*args, **kw | {name: number})
    place = place if args and isinstance(args[0], Tensor) else place - 1
    return call(*args[:place], number, *args[place + 1 :], **kw)


def tensor_of(number: float, call: Callable[..., Any], *args: Any, **kw: Any) -> Any:
    """Make the tensor of another number."""
    return call(number, *args[1:], **kw)


def rescale(factor: float, call: Callable[..., Any], *args: Any, **kw: Any) -> Any:
    """Take a mean of what is left as part of what there was: the rest was zero."""
    return call(*args, **kw) * factor


def attend(scale: float, call: Callable[..., Any], *args: Any, **kw: Any) -> Any:
    """Attend with the scale of heads of the width that there was."""
    return call(*args, **kw | {"scale": scale})


def layer_norm(
    width: int,
    call: Callable[..., Any],
    input: Tensor,
    normalized_shape: Sequence[int],
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    eps: float = 1e-5,
    *unused: Any,
) -> Tensor:
    r"""Normalise over ``width`` features of which those that are gone were zero.

    .. math:: m = \frac{1}{w} \sum x,\quad v = \frac{1}{w} (\sum (x - m)^2 + (w - n) m^2)

    over the *n* features that are left of the width *w*: no term is negative, so nothing cancels.

    Args:
        width: features that there were.
        call: what was called; not needed.
        input: shape ``[..., n]``.
        normalized_shape: not needed, it is ``[n]``.
        weight: shape ``[n]``.
        bias: shape ``[n]``.
        eps: added to the variance.
        unused: what `torch.layer_norm` takes besides.

    Returns:
        The shape of ``input``.
    """
    x = input.to(torch.promote_types(input.dtype, torch.float32))  # as torch's own kernel does
    mean = x.sum(-1, keepdim=True) / width
    centred = x - mean
    rest = (width - input.shape[-1]) * mean.square()
    variance = (centred.square().sum(-1, keepdim=True) + rest) / width
    output = (centred * torch.rsqrt(variance + eps)).to(input.dtype)
    if weight is None:
        return output
    return output * weight if bias is None else torch.addcmul(bias, output, weight)


def rms_norm(
    width: int,
    call: Callable[..., Any],
    input: Tensor,
    normalized_shape: Sequence[int],
    weight: Tensor | None = None,
    eps: float | None = None,
) -> Tensor:
    """Normalise over ``width`` features of which those that are gone were zero.

    The mean square is that of the *n* features left times ``n / width``, which the weight and
    ``eps`` take up.

    Args:
        width: features that there were.
        call: what was called; not needed.
        input: shape ``[..., n]``.
        normalized_shape: not needed, it is ``[n]``.
        weight: shape ``[n]``.
        eps: added to the mean square; by default the smallest step of the type.

    Returns:
        The shape of ``input``.
    """
    share = input.shape[-1] / width
    eps = torch.finfo(input.dtype).eps if eps is None else eps
    factor = share**-0.5 if weight is None else weight * share**-0.5
    output: Tensor = F.rms_norm(input, list(input.shape[-1:]), None, eps / share) * factor
    return output


def _replaced(values: Sequence[int], changed: Mapping[int, int]) -> list[int]:
    return [changed.get(place, value) for place, value in enumerate(values)]


KINDS: dict[str, Callable[..., Any]] = {
    "resize": resize,
    "resplit": resplit,
    "recut": recut,
    "renarrow": renarrow,
    "pin": pin,
    "pin_argument": pin_argument,
    "tensor_of": tensor_of,
    "rescale": rescale,
    "attend": attend,
    "layer_norm": layer_norm,
    "rms_norm": rms_norm,
}

_OWN_WAY = {function.__code__ for function in (rescale, layer_norm, rms_norm)}


def running(frame: FrameType | None) -> FrameType | None:
    """Return the call of a correction that computes in its own way, in which ``frame`` runs.

    Args:
        frame: where to look, and in its callers.

    Returns:
        The frame of the correction; None if there is none.
    """
    while frame is not None and frame.f_code not in _OWN_WAY:
        frame = frame.f_back
    return frame
