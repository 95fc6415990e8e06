"""Corrections of sizes: of what a tensor is reshaped, expanded or made to, and split into."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

from torch import Tensor
from typing_extensions import override

from lightning_prune.runtime.corrections.base import (
    CallCorrection,
    Correction,
    Number,
    are_sizes,
    fraction_product,
    require,
)
from lightning_prune.runtime.corrections.values import is_tensor

SIZES = ("size", "shape", "sizes", "repeats")
"""What torch's functions call the sizes that they are given."""


class SizeFactor(NamedTuple):
    """By which fraction one of several sizes is multiplied; zero below leaves it to torch."""

    place: int
    numerator: int
    denominator: int


@dataclass(frozen=True)
class Resize(CallCorrection):
    """Call with other sizes; what depends on the input's size goes on doing so.

    Args:
        factors: for each size that changes its place among the sizes, and its fraction.
    """

    kind: ClassVar[str] = "resize"
    calls: ClassVar[frozenset[str]] = frozenset(
        "view reshape unflatten expand broadcast_to repeat new_zeros new_ones new_full new_empty "
        "zeros ones full empty rand randn new".split()
    )

    factors: tuple[SizeFactor, ...]

    def __post_init__(self) -> None:
        require(bool(self.factors), "factors", "at least one", self.factors)
        for factor in self.factors:
            require(are_sizes(tuple(factor), 3), "factors", "three sizes each", factor)

    @override
    def __call__(self, call: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """Call with the sizes as one of the arguments, or as the last ones."""
        for name in SIZES:
            if name in kwargs:
                return call(*args, **kwargs | {name: self._resized(kwargs[name])})
        for index, arg in enumerate(args):
            if isinstance(arg, (tuple, list)):
                return call(*args[:index], self._resized(arg), *args[index + 1 :], **kwargs)
        first = 1 if args and isinstance(args[0], Tensor) and is_tensor(args[0]) else 0
        return call(*args[:first], *self._resized(args[first:]), **kwargs)

    def _resized(self, values: Sequence[int]) -> list[int]:
        sizes = list(values)
        for place, numerator, denominator in self.factors:
            sizes[place] = sizes[place] * numerator // denominator if denominator else -1
        return sizes

    @override
    def then(self, later: Correction) -> Correction | None:
        """Multiply the fractions."""
        if not isinstance(later, Resize):
            return None
        factors: dict[int, tuple[Number, Number]] = {
            place: (above, below) for place, above, below in self.factors
        }
        for place, above, below in later.factors:
            factors[place] = fraction_product(factors.get(place, (1, 1)), (above, below))
        return Resize(tuple(SizeFactor(place, *map(int, f)) for place, f in factors.items()))


def sizes_among(args: Sequence[Any], kwargs: Mapping[str, Any]) -> Sequence[int]:
    """Return the sizes that a call is given as one of the arguments, or as the last ones."""
    for name in SIZES:
        if name in kwargs:
            return list(kwargs[name])
    listed = [arg for arg in args if isinstance(arg, (tuple, list))]
    return listed[0] if listed else args[1 if args and is_tensor(args[0]) else 0 :]


class PadWidth(NamedTuple):
    """The width of the border at one place among the widths of a padding."""

    place: int
    width: int


@dataclass(frozen=True)
class Repad(CallCorrection):
    """Pad with the borders that there were, where channels are padded.

    Args:
        widths: those that change; the others depend on the input's size and go on doing so.
    """

    kind: ClassVar[str] = "repad"
    calls: ClassVar[frozenset[str]] = frozenset({"pad", "constant_pad_nd"})

    widths: tuple[PadWidth, ...]

    def __post_init__(self) -> None:
        require(bool(self.widths), "widths", "at least one", self.widths)
        for width in self.widths:
            require(are_sizes(tuple(width), 2), "widths", "a place and a width each", width)

    @override
    def __call__(self, call: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """Call with the widths in place of those that were given."""
        if "pad" in kwargs:
            return call(*args, **kwargs | {"pad": self._widened(kwargs["pad"])})
        return call(args[0], self._widened(args[1]), *args[2:], **kwargs)

    def _widened(self, given: Sequence[int]) -> list[int]:
        widths = list(given)
        for place, width in self.widths:
            widths[place] = width
        return widths

    @override
    def then(self, later: Correction) -> Correction | None:
        """Keep the later widths of each place."""
        if not isinstance(later, Repad):
            return None
        both = dict(self.widths) | dict(later.widths)
        return Repad(tuple(PadWidth(*width) for width in both.items()))


_PARTS = (
    "split_size_or_sections split_size split_sizes indices_or_sections indices sections".split()
)


@dataclass(frozen=True)
class Resplit(CallCorrection):
    """Split into parts of other sizes, or at other indices.

    Args:
        parts: the sizes, or the indices.
    """

    kind: ClassVar[str] = "resplit"
    calls: ClassVar[frozenset[str]] = frozenset(
        {"split", "unsafe_split", "split_with_sizes", "tensor_split"}
    )

    parts: tuple[int, ...]

    def __post_init__(self) -> None:
        holds = are_sizes(self.parts) and bool(self.parts)
        require(holds, "parts", "sizes", self.parts)

    @override
    def __call__(self, call: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """Call with the parts in place of those that were given."""
        for name in _PARTS:
            if name in kwargs:
                return call(*args, **kwargs | {name: list(self.parts)})
        place = 1 if args and is_tensor(args[0]) else 0
        return call(*args[:place], list(self.parts), *args[place + 1 :], **kwargs)

    @override
    def then(self, later: Correction) -> Correction | None:
        """Keep the later parts."""
        return later if isinstance(later, Resplit) else None
