"""Corrections: what stands in for a call of the user's code whose sizes are no longer right.

Each takes what it needs to know, then the function that was called and its arguments, and calls it
as the model of full size would have: with the sizes that fit now, the numbers that held then, and
statistics over the width that there was. They run inside compact models.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from lightning_prune.runtime.stand_ins import give_back, keep

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

    def function(self) -> Any:
        """Return what to call in place of the user's call, with the callee as first argument."""
        if self.kind == "recut":
            return Recut(self.value)
        return partial(KINDS[self.kind], self.value)

    def then(self, other: Correction) -> Correction | None:
        """Return what stands in for the call when what this one makes of it is corrected again.

        Args:
            other: the second correction.

        Returns:
            One correction for both, or None if there is none.
        """
        if self.kind != other.kind:
            return None
        if self.kind == "rescale":
            return Correction(self.kind, self.value * other.value)
        if self.kind in {"pin", "tensor_of"}:
            factor = (self.value[0] * other.value[0], self.value[1] * other.value[1])
            return Correction(self.kind, factor)
        if self.kind == "pin_arguments":
            return Correction(self.kind, (*self.value, *other.value))
        if self.kind == "resize":
            return Correction(self.kind, _multiplied(self.value, other.value))
        if self.kind == "recut":
            cuts = {cut[:2]: cut for cut in (*self.value, *other.value)}
            return Correction(self.kind, tuple(cuts.values()))
        return other


def _multiplied(
    first: Sequence[tuple[int, int, int]], second: Sequence[tuple[int, int, int]]
) -> tuple[tuple[int, int, int], ...]:
    factors = {place: (numerator, denominator) for place, numerator, denominator in first}
    for place, numerator, denominator in second:
        before = factors.get(place, (1, 1))
        factors[place] = (before[0] * numerator, before[1] * denominator)
    return tuple((place, *factor) for place, factor in factors.items())


def resize(
    sizes: Sequence[tuple[int, int, int]], call: Callable[..., Any], *args: Any, **kw: Any
) -> Any:
    """Call with other sizes.

    Args:
        sizes: places among the sizes, and by which fraction each is multiplied: what depends on
            the input's size goes on doing so. A denominator of zero leaves the size to torch.
        call: what was called.
        args: its arguments: the sizes as one of them, or as the last ones.
        kw: its keyword arguments.

    Returns:
        What it returns.
    """
    for name in ("size", "shape", "sizes", "repeats"):
        if name in kw:
            return call(*args, **kw | {name: _resized(kw[name], sizes)})
    for index, arg in enumerate(args):
        if isinstance(arg, (tuple, list)):
            return call(*args[:index], _resized(arg, sizes), *args[index + 1 :], **kw)
    first = 1 if args and isinstance(args[0], Tensor) else 0
    return call(*args[:first], *_resized(args[first:], sizes), **kw)


def resplit(parts: Sequence[int], call: Callable[..., Any], *args: Any, **kw: Any) -> Any:
    """Split into parts of other sizes, or at other indices."""
    for name in _PARTS:
        if name in kw:
            return call(*args, **kw | {name: list(parts)})
    place = 1 if args and isinstance(args[0], Tensor) else 0
    return call(*args[:place], list(parts), *args[place + 1 :], **kw)


class Recut:
    """Indexed in place of a tensor, gives the index with other bounds.

    Args:
        cuts: the dimension that is cut, of how many there are, the start and the end. Dimensions
            are counted when those before are indexed already, as torch does it.
    """

    def __init__(self, cuts: Sequence[tuple[int, int, int, int]]) -> None:
        self._cuts = cuts

    def __getitem__(self, index: Any) -> Any:
        places = list(index) if isinstance(index, tuple) else [index]
        for dim, rank, start, end in self._cuts:
            found = _place_of(dim, rank, places)
            if found is not None:
                places[found] = slice(start, end)
        return tuple(places)


def renarrow(bounds: Sequence[int], call: Callable[..., Any], *args: Any, **kw: Any) -> Any:
    """Narrow with another start and length."""
    first = 1 if args and isinstance(args[0], Tensor) else 0
    given = dict(zip(("dim", "start", "length"), args[first:], strict=False)) | kw
    return call(*args[:first], **given | {"start": bounds[0], "length": bounds[1]})


def pin(factor: Sequence[float], value: Any) -> Any:
    """Return the number that a value was before its sizes shrank; tensors are what they were."""
    return value if isinstance(value, Tensor) else _times(factor, value)


def pin_arguments(
    pins: Sequence[tuple[float, float, str, int]], call: Callable[..., Any], *args: Any, **kw: Any
) -> Any:
    """Call with other numbers; ``pins`` lists their factors, names and places."""
    given = list(args)
    for numerator, denominator, name, place in pins:
        factor = numerator, denominator
        if name in kw:
            kw[name] = pin(factor, kw[name])
        else:
            given[place] = pin(factor, given[place])
    return call(*given, **kw)


def tensor_of(factor: Sequence[float], call: Callable[..., Any], *args: Any, **kw: Any) -> Any:
    """Make the tensor of another number."""
    if "data" in kw:
        return call(*args, **kw | {"data": pin(factor, kw["data"])})
    return call(pin(factor, args[0]), *args[1:], **kw)


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


def _resized(values: Sequence[int], sizes: Sequence[tuple[int, int, int]]) -> list[int]:
    factors = {place: (numerator, denominator) for place, numerator, denominator in sizes}
    return [
        value if place not in factors else _times(factors[place], value)
        for place, value in enumerate(values)
    ]


def _times(factor: Sequence[float], value: Any) -> Any:
    numerator, denominator = factor
    if not denominator:
        return -1
    if all(isinstance(number, int) for number in factor) and not isinstance(value, float):
        return value * numerator // denominator
    return value * (numerator / denominator)


def _place_of(dim: int, rank: int, places: Sequence[Any]) -> int | None:
    """Return which of the places in brackets is a slice of the dimension ``dim`` of ``rank``."""
    at, after_ellipsis = 0, False
    for index, place in enumerate(places):
        if after_ellipsis:
            left = sum(other is not None for other in places[index + 1 :])
            found = dim == rank - 1 - left
        else:
            found = dim == at
        if isinstance(place, slice) and found:
            return index
        after_ellipsis |= place is Ellipsis
        at += type(place) is not int
    return None


_PARTS = (
    "split_size_or_sections split_size split_sizes indices_or_sections indices sections".split()
)

KINDS: dict[str, Callable[..., Any]] = {
    "resize": resize,
    "resplit": resplit,
    "recut": Recut,
    "renarrow": renarrow,
    "pin": pin,
    "pin_arguments": pin_arguments,
    "tensor_of": tensor_of,
    "rescale": rescale,
    "attend": attend,
    "layer_norm": layer_norm,
    "rms_norm": rms_norm,
    "keep_left": keep,
    "keep_right": keep,
    "give_back": give_back,
}
