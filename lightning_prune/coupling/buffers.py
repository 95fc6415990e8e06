"""Buffers that are added to what weights write, like positions: which of them may be zeroed.

Such a buffer is zeroed with a unit, and cut with it. That holds only where nothing writes other
values into it later, or computes others of its width, and where no zero in it makes infinity of a
result.
"""

from __future__ import annotations

import ast
import inspect
import textwrap
from collections.abc import Iterator

from torch import nn

from lightning_prune.coupling.labels import Labels


def unchangeable_buffers(model: nn.Module, labels: Labels) -> set[str]:
    """Return the buffers that are added to what weights write, but must not be zeroed.

    Args:
        model: the model.
        labels: what the rules said of its recordings.

    Returns:
        Their names; the labels do not hold for these.
    """
    added = labels.added & labels.buffers
    return {name for name in added if name in labels.unchangeable or _is_computed(model, name)}


def _is_computed(model: nn.Module, name: str) -> bool:
    """Tell whether a method but ``__init__`` may compute a buffer anew, or none can be read."""
    owner, _, attribute = name.rpartition(".")
    for base in type(model.get_submodule(owner)).__mro__:
        if base.__module__.startswith("torch.nn.modules.") or base is object:
            continue
        try:
            tree = ast.parse(textwrap.dedent(inspect.getsource(base)))
        except (OSError, TypeError, SyntaxError):
            return True
        methods = (f for f in ast.walk(tree) if isinstance(f, ast.FunctionDef))
        if any(attribute in _computed(f) for f in methods if f.name != "__init__"):
            return True
    return False


def _computed(method: ast.FunctionDef) -> Iterator[str]:
    """Yield the attributes that a method assigns, registers, writes into or asks for the width."""
    for node in ast.walk(method):
        match node:
            case ast.Attribute(attr=attribute, ctx=ast.Store() | ast.Del()):
                yield attribute
            case ast.Subscript(value=ast.Attribute(attr=attribute), ctx=ast.Store()):
                yield attribute
            case ast.Subscript(
                value=ast.Attribute(value=ast.Attribute(attr=attribute), attr="shape"),
                slice=ast.UnaryOp(op=ast.USub(), operand=ast.Constant(value=1)),
            ):
                yield attribute
            case ast.Call(
                func=ast.Attribute(value=ast.Attribute(attr=attribute), attr="size"),
                args=[ast.UnaryOp(op=ast.USub(), operand=ast.Constant(value=1))],
            ):
                yield attribute
            case ast.Call(
                func=ast.Name(id="setattr") | ast.Attribute(attr="register_buffer"), args=args
            ):
                yield from (str(arg.value) for arg in args if isinstance(arg, ast.Constant))
