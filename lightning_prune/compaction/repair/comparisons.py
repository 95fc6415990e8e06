"""Comparisons: widths that a user's code holds against an attribute of its module.

``assert x.shape[1] == self.channels`` fails in a smaller model, although all that is stale is the
attribute. What held in the model of full size must hold in the smaller one.
"""

from __future__ import annotations

import ast
import traceback
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import CodeType, FrameType
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from lightning_prune.compaction.plan import Attribute, SizeChange
from lightning_prune.compaction.rewriting.source import tree_of
from lightning_prune.errors import RewriteError

Change = tuple[Attribute, SizeChange]


def stale_attribute(model: nn.Module, error: BaseException) -> Change | None:
    """Return the attribute whose comparison with a width has raised an error.

    Args:
        model: what raised it.
        error: the error.

    Returns:
        The attribute and the width, None if the error comes from anything else.
    """
    names = {id(module): name for name, module in model.named_modules()}
    for frame, line in reversed(list(traceback.walk_tb(error.__traceback__))):
        owner = _first_argument(frame)
        if id(owner) not in names:
            continue
        for test in _failed(frame.f_code, line):
            for multiple, width in _sides(test):
                found = _multiple(multiple, frame.f_code.co_varnames[0])
                if found is None:
                    continue
                change = _change(owner, found.name, _quotient(width, found.factors, frame))
                if change is not None:
                    return Attribute(names[id(owner)], found.name), change
    return None


def place_of(error: BaseException) -> str:
    """Return file and line of the user's code that raised an error, in words."""
    frames = traceback.extract_tb(error.__traceback__)
    users = [f for f in frames if not f.filename.startswith((*torch.__path__, "<"))]
    innermost = (users or frames)[-1] if frames else None
    return "" if innermost is None else f"{Path(innermost.filename).name}:{innermost.lineno}"


def compared_attributes(tree: ast.AST, owner: str) -> Iterator[str]:
    """Return the attributes that a function holds against widths, and raises if they differ.

    Args:
        tree: the statement that defines the function.
        owner: the variable that holds the module.

    Yields:
        Their names.
    """
    for test, _ in _requirements(tree):
        for multiple, width in _sides(test):
            found = _multiple(multiple, owner)
            if found is not None and all(map(_is_width, (width, *found.factors))):
                yield found.name


def _first_argument(frame: FrameType) -> Any:
    code = frame.f_code
    return frame.f_locals.get(code.co_varnames[0]) if code.co_argcount else None


def _requirements(tree: ast.AST) -> Iterator[tuple[ast.expr, list[ast.stmt]]]:
    """Return what is required, and the statements that raise if it does not hold."""
    for statement in ast.walk(tree):
        if isinstance(statement, ast.Assert):
            yield statement.test, [statement]
        elif isinstance(statement, ast.If):
            raising = [part for part in statement.body if isinstance(part, ast.Raise)]
            if raising:
                yield statement.test, list(raising)


def _sides(test: ast.expr) -> Iterator[tuple[ast.expr, ast.expr]]:
    """Return both sides of every comparison for (in)equality, in both orders, also by element."""
    for node in ast.walk(test):
        if isinstance(node, ast.Compare) and isinstance(node.ops[0], (ast.Eq, ast.NotEq)):
            left, right = node.left, node.comparators[0]
            for one, other in ((left, right), (right, left)):
                yield one, other
                yield from _elements(one, other)


def _elements(listed: ast.expr, sizes: ast.expr) -> Iterator[tuple[ast.expr, ast.expr]]:
    """Return every expression in a list that is held against all sizes of a tensor, with its."""
    tensor = _measured(sizes)
    if tensor is not None and isinstance(listed, (ast.Tuple, ast.List)):
        shape = ast.Attribute(tensor, "shape", ast.Load())
        for index, element in enumerate(listed.elts):
            yield element, ast.Subscript(shape, ast.Constant(index), ast.Load())


def _measured(node: ast.expr) -> ast.expr | None:
    """Return the tensor all of whose sizes an expression returns."""
    match node:
        case ast.Attribute(attr="shape", value=tensor):
            return tensor
        case ast.Call(func=ast.Attribute(attr="size", value=tensor), args=[]):
            return tensor
        case ast.Call(func=ast.Name(id="list" | "tuple"), args=[inner]):
            return _measured(inner)
    return None


class _Multiple(NamedTuple):
    """An attribute of the module, and what it is multiplied by."""

    name: str
    factors: tuple[ast.expr, ...]


def _multiple(node: ast.expr, owner: str) -> _Multiple | None:
    """Return which attribute of the module an expression reads, perhaps times something."""
    match node:
        case ast.Attribute(value=ast.Name(id=name), attr=attribute) if name == owner:
            return _Multiple(attribute, ())
        case ast.BinOp(left=left, op=ast.Mult(), right=right):
            for one, other in ((left, right), (right, left)):
                found = _multiple(one, owner)
                if found is not None:
                    return _Multiple(found.name, (*found.factors, other))
    return None


def _quotient(width: ast.expr, factors: Iterable[ast.expr], frame: FrameType) -> Any:
    """Return a width without factors; None if it is no multiple of them."""
    value = _width(width, frame)
    for factor in factors:
        times = _width(factor, frame)
        if not (type(value) is int and type(times) is int and times > 0 and value % times == 0):
            return None
        value //= times
    return value


def _is_width(node: ast.expr) -> bool:
    """Tell whether `_width` can tell the value of an expression."""
    match node:
        case ast.Name():
            return True
        case ast.Subscript(value=ast.Attribute(attr="shape")):
            return True
        case ast.Call(func=ast.Attribute(attr="size"), args=[_]):
            return True
    return False


def _width(node: ast.expr, frame: FrameType) -> Any:
    """Return the value of a variable, or of a size of a tensor; None of anything else."""
    match node:
        case ast.Name():
            return frame.f_locals.get(node.id)
        case ast.Subscript(value=ast.Attribute(attr="shape", value=owner), slice=place):
            return _size(owner, place, frame)
        case ast.Call(func=ast.Attribute(attr="size", value=owner), args=[place]):
            return _size(owner, place, frame)
    return None


def _size(owner: ast.expr, place: ast.expr, frame: FrameType) -> Any:
    tensor = _width(owner, frame)
    try:
        return tensor.shape[ast.literal_eval(place)] if isinstance(tensor, Tensor) else None
    except (ValueError, TypeError, IndexError):
        return None


def _failed(code: CodeType, line: int) -> Iterator[ast.expr]:
    """Return what was required by the statement that has raised at a line."""
    try:
        tree = tree_of(code)
    except RewriteError:
        return
    for test, raising in _requirements(tree):
        if any(part.lineno <= line <= (part.end_lineno or 0) for part in raising):
            yield test


def _change(owner: Any, name: str | None, width: Any) -> SizeChange | None:
    value = vars(owner).get(name) if name is not None else None
    if type(value) is int and type(width) is int and value != width > 0:
        return SizeChange(value, width)
    return None
