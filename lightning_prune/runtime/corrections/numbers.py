"""Corrections of numbers: what was computed from a width goes on meaning the full one."""

from __future__ import annotations

import ast
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

from typing_extensions import override

from lightning_prune.runtime.corrections.base import (
    CallCorrection,
    Correction,
    Number,
    fraction_product,
    is_number,
    is_size,
    load,
    misfit,
    require,
)
from lightning_prune.runtime.corrections.values import is_tensor, is_whole


@dataclass(frozen=True)
class Pin(Correction):
    """The numbers among the operands of an operator are what they were; tensors stay.

    Args:
        numerator: by which fraction a number is multiplied.
        denominator: likewise.
    """

    kind: ClassVar[str] = "pin"

    numerator: Number
    denominator: Number

    def __post_init__(self) -> None:
        _require_fraction(self.numerator, self.denominator)

    @override
    def wrap(self, name: str, node: ast.AST) -> ast.AST:
        """Return the operation with each operand corrected."""
        match node:
            case ast.BinOp():
                node.left, node.right = _pinned(name, node.left), _pinned(name, node.right)
            case ast.AugAssign():
                node.value = _pinned(name, node.value)
            case ast.Compare():
                node.left = _pinned(name, node.left)
                node.comparators = [_pinned(name, operand) for operand in node.comparators]
            case _:
                raise misfit(self, node)
        return node

    def __call__(self, value: Any) -> Any:
        """Return the number that a value was before its sizes shrank."""
        return _times(value, self.numerator, self.denominator)

    @override
    def then(self, later: Correction) -> Correction | None:
        """Multiply the fractions."""
        if not isinstance(later, Pin):
            return None
        own = (self.numerator, self.denominator)
        return Pin(*fraction_product(own, (later.numerator, later.denominator)))


def _times(value: Any, numerator: Number, denominator: Number) -> Any:
    """Return a number times a fraction, or a tensor as it is."""
    if is_tensor(value):
        return value
    if is_whole(value) and isinstance(numerator, int) and isinstance(denominator, int):
        return value * numerator // denominator
    return value * (numerator / denominator)


def _pinned(name: str, node: ast.expr) -> ast.expr:
    return node if isinstance(node, ast.Constant) else ast.Call(load(name), [node], [])


class ArgumentPin(NamedTuple):
    """By which fraction one argument of a call is multiplied, with its name and its place."""

    numerator: Number
    denominator: Number
    name: str
    place: int


@dataclass(frozen=True)
class PinArguments(CallCorrection):
    """Call with the numbers that there were.

    Args:
        pins: for each number that changes its fraction, name and place. A number that is
            corrected twice is multiplied twice.
    """

    kind: ClassVar[str] = "pin_arguments"

    pins: tuple[ArgumentPin, ...]

    def __post_init__(self) -> None:
        require(bool(self.pins), "pins", "at least one", self.pins)
        for pin in self.pins:
            holds = type(pin) in {tuple, ArgumentPin} and len(pin) == 4
            require(holds, "pins", "a fraction, a name and a place each", pin)
            numerator, denominator, name, place = pin
            _require_fraction(numerator, denominator)
            holds = isinstance(name, str) and name.isidentifier()
            require(holds, "pins", "names of arguments", name)
            require(is_size(place), "pins", "places of arguments", place)

    @override
    def wrap(self, name: str, node: ast.AST) -> ast.AST:
        """Return a call of the correction; each argument must be there, by its name or place."""
        if not isinstance(node, ast.Call) or not all(_is_given(node, pin) for pin in self.pins):
            raise misfit(self, node)
        return super().wrap(name, node)

    @override
    def __call__(self, call: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """Call with the numbers multiplied."""
        given = list(args)
        for numerator, denominator, name, place in self.pins:
            if name in kwargs:
                kwargs[name] = _times(kwargs[name], numerator, denominator)
            else:
                given[place] = _times(given[place], numerator, denominator)
        return call(*given, **kwargs)

    @override
    def then(self, later: Correction) -> Correction | None:
        """Multiply by one after the other."""
        return PinArguments((*self.pins, *later.pins)) if isinstance(later, PinArguments) else None


def _is_given(call: ast.Call, pin: ArgumentPin) -> bool:
    """Tell whether a call may pass the argument of a pin."""
    names = [keyword.arg for keyword in call.keywords]
    is_open = None in names or any(isinstance(arg, ast.Starred) for arg in call.args)
    return is_open or pin[2] in names or pin[3] < len(call.args)


@dataclass(frozen=True)
class TensorOf(CallCorrection):
    """Make the tensor of another number.

    Args:
        numerator: by which fraction the number is multiplied.
        denominator: likewise.
    """

    kind: ClassVar[str] = "tensor_of"
    calls: ClassVar[frozenset[str]] = frozenset({"tensor", "as_tensor", "new_tensor"})

    numerator: Number
    denominator: Number

    def __post_init__(self) -> None:
        _require_fraction(self.numerator, self.denominator)

    @override
    def __call__(self, call: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """Call with the number multiplied."""
        if "data" in kwargs:
            number = _times(kwargs["data"], self.numerator, self.denominator)
            return call(*args, **kwargs | {"data": number})
        return call(_times(args[0], self.numerator, self.denominator), *args[1:], **kwargs)

    @override
    def then(self, later: Correction) -> Correction | None:
        """Multiply the fractions."""
        if not isinstance(later, TensorOf):
            return None
        own = (self.numerator, self.denominator)
        return TensorOf(*fraction_product(own, (later.numerator, later.denominator)))


@dataclass(frozen=True)
class RescaleMean(CallCorrection):
    """Take a mean of what is left as part of what there was: the rest was zero.

    Args:
        share: how much is left, in (0, 1].
    """

    kind: ClassVar[str] = "rescale_mean"
    calls: ClassVar[frozenset[str]] = frozenset({"mean"})

    share: float

    def __post_init__(self) -> None:
        holds = is_number(self.share) and 0 < self.share <= 1
        require(holds, "share", "a fraction in (0, 1]", self.share)

    @override
    def __call__(self, call: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """Multiply the mean by the share."""
        return call(*args, **kwargs) * self.share

    @override
    def then(self, later: Correction) -> Correction | None:
        """Multiply the shares."""
        return RescaleMean(self.share * later.share) if isinstance(later, RescaleMean) else None


@dataclass(frozen=True)
class ScaleAttention(CallCorrection):
    """Attend with the scale of heads of the width that there was.

    Args:
        scale: what logits are multiplied by.
    """

    kind: ClassVar[str] = "scale_attention"
    calls: ClassVar[frozenset[str]] = frozenset({"scaled_dot_product_attention"})

    scale: float

    def __post_init__(self) -> None:
        holds = is_number(self.scale) and self.scale > 0
        require(holds, "scale", "a positive number", self.scale)

    @override
    def __call__(self, call: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """Call with the scale."""
        return call(*args, **kwargs | {"scale": self.scale})

    @override
    def then(self, later: Correction) -> Correction | None:
        """Keep the first scale: it is that of the widest heads."""
        return self if isinstance(later, ScaleAttention) else None


def _require_fraction(numerator: object, denominator: object) -> None:
    holds = is_number(numerator) and is_number(denominator) and denominator != 0
    require(holds, "numerator and denominator", "a fraction", (numerator, denominator))
