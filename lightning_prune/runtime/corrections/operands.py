"""Corrections of the operands of a call: of what size they are, and what they hold."""

from __future__ import annotations

import ast
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import torch
from torch import Tensor
from typing_extensions import override

from lightning_prune.runtime.corrections.base import (
    Correction,
    are_sizes,
    is_size,
    load,
    misfit,
    require,
)
from lightning_prune.runtime.corrections.values import is_tensor


@dataclass(frozen=True)
class OperandCorrection(Correction):
    """Is called with an operand, and returns what takes its place.

    Args:
        bound: it corrects the call of a tensor's method, of which the tensor is an operand.
    """

    bound: bool

    def _require_bound(self) -> None:
        require(type(self.bound) is bool, "bound", "true or false", self.bound)

    def _applied(self, name: str, operand: ast.expr) -> ast.expr:
        is_value = not isinstance(operand, ast.Constant)
        return ast.Call(load(name), [operand], []) if is_value else operand


@dataclass(frozen=True)
class Pick(OperandCorrection):
    """Of operands in full size along a dimension, some positions are picked; others stay.

    Args:
        bound: as above.
        dim: the dimension, counted from the last one, which is 1.
        size: the full size along it.
        kept: the positions to pick, ascending.
    """

    kind: ClassVar[str] = "pick"
    calls: ClassVar[frozenset[str]] = frozenset(
        "add sub mul div where maximum minimum fmax fmin pow lerp addcmul addcdiv".split()
    )

    dim: int
    size: int
    kept: tuple[int, ...]

    def __post_init__(self) -> None:
        self._require_bound()
        _require_positions(self.dim, self.size, self.kept)

    @override
    def wrap(self, name: str, node: ast.AST) -> ast.AST:
        """Return the operation with each operand corrected."""
        match node:
            case ast.BinOp():
                node.left, node.right = (self._applied(name, o) for o in (node.left, node.right))
            case ast.AugAssign():
                node.value = self._applied(name, node.value)
            case ast.Call() if not any(isinstance(arg, ast.Starred) for arg in node.args):
                node.args = [self._applied(name, arg) for arg in node.args]
                for keyword in node.keywords:
                    keyword.value = self._applied(name, keyword.value)
                if self.bound and isinstance(node.func, ast.Attribute):
                    node.func.value = self._applied(name, node.func.value)
            case _:
                raise misfit(self, node)
        return node

    def __call__(self, value: Any) -> Any:
        """Return the positions of a tensor in full size, anything else as it is."""
        if not is_tensor(value) or value.dim() < self.dim or value.shape[-self.dim] != self.size:
            return value
        return value.index_select(-self.dim, torch.tensor(self.kept, device=value.device))

    @override
    def then(self, later: Correction) -> Correction | None:
        """Pick from what was picked."""
        if not isinstance(later, Pick) or (later.dim, later.size) != (self.dim, len(self.kept)):
            return None
        return replace(self, kept=tuple(self.kept[position] for position in later.kept))


@dataclass(frozen=True)
class Refill(OperandCorrection):
    """The operand of a reduction gets back the zeros that were removed: they count.

    Args:
        bound: as above.
        dim: the dimension, counted from the last one, which is 1.
        size: the full size along it.
        kept: the positions of what is left, ascending.
    """

    kind: ClassVar[str] = "refill"
    calls: ClassVar[frozenset[str]] = frozenset(
        "var std var_mean std_mean max min amax amin logsumexp prod".split()
    )

    dim: int
    size: int
    kept: tuple[int, ...]

    def __post_init__(self) -> None:
        self._require_bound()
        _require_positions(self.dim, self.size, self.kept)

    @override
    def wrap(self, name: str, node: ast.AST) -> ast.AST:
        """Return the call with its operand refilled."""
        operand = _operand(node, self.bound)
        match node:
            case ast.Call(func=ast.Attribute() as func) if func.value is operand:
                func.value = self._applied(name, operand)
            case ast.Call() if operand is not None:
                node.args[0] = self._applied(name, operand)
            case _:
                raise misfit(self, node)
        return node

    def __call__(self, value: Tensor) -> Tensor:
        """Return a tensor of the full size, zero where nothing is left."""
        shape = list(value.shape)
        shape[-self.dim] = self.size
        kept = torch.tensor(self.kept, device=value.device)
        return value.new_zeros(shape).index_copy(-self.dim, kept, value)

    @override
    def then(self, later: Correction) -> Correction | None:
        """Keep what the later one leaves of the positions."""
        if not isinstance(later, Refill) or (later.dim, later.size) != (self.dim, len(self.kept)):
            return None
        return replace(self, kept=tuple(self.kept[position] for position in later.kept))


@dataclass(frozen=True)
class SquareCentred(OperandCorrection):
    r"""Square what was centred, so that the mean counts what is gone.

    With :math:`d = x - u` for the mean *u* over the full width, a unit that is gone was
    :math:`-u`. The *n* values that are left sum up to :math:`g u` for the *g* that are gone, so

    .. math:: \sum_n (d^2 + \frac{(\sum_n d)^2}{n g}) = \sum_n d^2 + g u^2.

    Args:
        bound: as above.
        dims: over which the mean is taken, counted from the last one, which is 1.
        kept: of ``size`` values how many are left.
        size: how many there were.
    """

    kind: ClassVar[str] = "square_centred"
    calls: ClassVar[frozenset[str]] = frozenset({"pow", "square", "mul"})

    dims: tuple[int, ...]
    kept: int
    size: int

    def __post_init__(self) -> None:
        self._require_bound()
        holds = are_sizes(self.dims) and bool(self.dims) and 0 not in self.dims
        require(holds, "dims", "dimensions", self.dims)
        require(is_size(self.kept, 1), "kept", "a size", self.kept)
        require(is_size(self.size, self.kept + 1), "size", "more than what is left", self.size)

    @override
    def wrap(self, name: str, node: ast.AST) -> ast.AST:
        """Return what stands for the square."""
        is_operator = isinstance(node, ast.BinOp) and isinstance(node.op, (ast.Pow, ast.Mult))
        operand = node.left if is_operator else _operand(node, self.bound)  # type: ignore[attr-defined]
        if operand is None:
            raise misfit(self, node)
        return self._applied(name, operand)

    def __call__(self, value: Tensor) -> Tensor:
        """Return the squares, with what is gone shared among them."""
        left = 1
        for dim in self.dims:
            left *= value.shape[-dim]
        gone = left * (self.size - self.kept) / self.kept
        total = value.sum([-dim for dim in self.dims], keepdim=True)
        return value.square() + total.square() / (left * gone)

    @override
    def then(self, later: Correction) -> Correction | None:
        """Keep the first size, which is the full one, and what is left at last."""
        if not isinstance(later, SquareCentred) or (later.dims, later.size) != (
            self.dims,
            self.kept,
        ):
            return None
        return replace(self, kept=later.kept)


def _require_positions(dim: int, size: int, kept: tuple[int, ...]) -> None:
    """Refuse what are no positions of a dimension."""
    require(is_size(dim, 1), "dim", "a dimension", dim)
    require(is_size(size, 1), "size", "a size", size)
    holds = are_sizes(kept) and 0 < len(kept) < size
    holds = holds and list(kept) == sorted(set(kept)) and kept[-1] < size
    require(holds, "kept", "ascending positions below the size", kept)


def _operand(node: ast.AST, bound: bool) -> ast.expr | None:
    """Return the first operand of a call, None if neither its place nor its owner gives it."""
    match node:
        case ast.Call(func=ast.Attribute(value=owner)) if bound:
            return owner
        case ast.Call(args=[first, *_]) if not bound and not isinstance(first, ast.Starred):
            return first
    return None
