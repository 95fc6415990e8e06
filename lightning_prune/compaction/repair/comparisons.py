"""Comparisons: widths that a user's code holds against an attribute of its module.

``assert x.shape[1] == self.channels`` fails in a smaller model, although all that is stale is the
attribute. What held in the model of full size must hold in the smaller one.
"""

from __future__ import annotations

import ast
import traceback
from collections.abc import Iterator
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

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
            for attribute, width in _sides(test):
                name = _attribute(attribute, frame.f_code.co_varnames[0])
                change = _change(owner, name, _width(width, frame))
                if change is not None:
                    return Attribute(names[id(owner)], str(name)), change
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
        for attribute, width in _sides(test):
            name = _attribute(attribute, owner)
            if name is not None and _is_width(width):
                yield name


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
    """Return both sides of every comparison for (in)equality, in both orders."""
    for node in ast.walk(test):
        if isinstance(node, ast.Compare) and isinstance(node.ops[0], (ast.Eq, ast.NotEq)):
            yield node.left, node.comparators[0]
            yield node.comparators[0], node.left


def _attribute(node: ast.expr, owner: str) -> str | None:
    """Return the name of the module's attribute that an expression reads."""
    match node:
        case ast.Attribute(value=ast.Name(id=name), attr=attribute) if name == owner:
            return attribute
    return None


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
