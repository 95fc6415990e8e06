"""Corrections: what stands in for an expression of the user's code whose sizes are not right now.

A correction is frozen data, and at the same time what runs: in a copy of the user's function it
takes the place of the call that it corrects. Each knows how to wrap an expression, how to follow an
earlier correction of the same one, and how to check its own values, for it may come from a file.
"""

from __future__ import annotations

import ast
import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Any, ClassVar

from typing_extensions import override

from lightning_prune.errors import RewriteError

Number = int | float

_LARGEST = 2**48


class Correction(ABC):
    """What stands in for an expression, or for a whole method; leaves are frozen dataclasses."""

    kind: ClassVar[str]
    """The name of the class in files."""

    calls: ClassVar[frozenset[str]] = frozenset()
    """Names of the functions and tensor methods for a call of which it may stand in."""

    @abstractmethod
    def wrap(self, name: str, node: ast.AST) -> ast.AST:
        """Return what stands for an expression.

        Args:
            name: the variable that holds this correction.
            node: the expression; it may be changed.

        Raises:
            RewriteError: if it is not of the form that this correction fits.
        """

    @abstractmethod
    def then(self, later: Correction) -> Correction | None:
        """Return what does both when what this one makes of a call is corrected again.

        Args:
            later: the second correction.

        Returns:
            One correction for both, or None if there is none.
        """

    def to_json(self) -> dict[str, Any]:
        """Return the class and the values as plain data."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}  # type: ignore[arg-type]
        return {"kind": self.kind, **values}


@dataclass(frozen=True)
class CallCorrection(Correction):
    """Stands in for a call: it is called with what was called, and with its arguments."""

    @override
    def wrap(self, name: str, node: ast.AST) -> ast.AST:
        """Return a call of the correction."""
        if not isinstance(node, ast.Call):
            raise misfit(self, node)
        return ast.Call(load(name), [node.func, *node.args], node.keywords)

    @abstractmethod
    def __call__(self, call: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """Call as the model of full size would have.

        Args:
            call: what was called.
            args: its positional arguments.
            kwargs: its keyword arguments.

        Returns:
            What it returns.
        """


def misfit(correction: Correction, node: ast.AST) -> RewriteError:
    """Return the error for an expression that a correction does not fit."""
    return RewriteError(f"{type(correction).__name__} does not fit {ast.unparse(node)}")


def load(name: str) -> ast.Name:
    """Return the expression that reads a variable."""
    return ast.Name(name, ast.Load())


def require(holds: bool, argument: str, what: str, value: Any) -> None:
    """Raise unless a value of a correction is what it must be.

    Args:
        holds: whether it is.
        argument: its name.
        what: what it must be.
        value: what it is.

    Raises:
        ValueError: if it does not hold.
    """
    if not holds:
        raise ValueError(
            f"Expected `{argument}` of a correction to be {what}, but got {value!r}. Write the "
            "file with `save_compact`."
        )


def is_size(value: object, least: int = 0) -> bool:
    """Tell whether a value is a whole number of at least ``least``, and no bool."""
    return type(value) is int and least <= value < _LARGEST


def is_number(value: object) -> bool:
    """Tell whether a value is a finite number, and no bool."""
    if type(value) is int:
        return -_LARGEST < value < _LARGEST
    return type(value) is float and math.isfinite(value)


def fraction_product(
    first: tuple[Number, Number], later: tuple[Number, Number]
) -> tuple[Number, Number]:
    """Return the product of two fractions, reduced where all of it is whole."""
    above, below = first[0] * later[0], first[1] * later[1]
    if isinstance(above, int) and isinstance(below, int):
        common = math.gcd(above, below)
        return above // common, below // common
    return above, below


def are_sizes(values: object, count: int | None = None) -> bool:
    """Tell whether a value is a tuple of sizes, of ``count`` of them if given."""
    if type(values) is not tuple or (count is not None and len(values) != count):
        return False
    return all(is_size(value) for value in values)
