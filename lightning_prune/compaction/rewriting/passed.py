"""Passed: which attribute of a module a function gets its sizes from.

`repeat(x, module.times)` hands an attribute to a function, which takes it as a size. Nothing need
be corrected there, not even be callable by name: the attribute is changed. It is told only if what
the function is given can be nothing else.
"""

from __future__ import annotations

import ast
import dis
import os
import sys
from collections.abc import Iterator, Sequence
from types import CodeType, FunctionType, ModuleType
from typing import Any

from lightning_prune.compaction.rewriting.call_site import size_at, users_calls
from lightning_prune.compaction.rewriting.source import find, tree_of
from lightning_prune.coupling.graph import Frame, Site
from lightning_prune.coupling.sites import file_of
from lightning_prune.errors import RewriteError


def passed_attribute(site: Site | None, place: int) -> str | None:
    """Return the attribute of a site's module that a call takes as its size number ``place``.

    Args:
        site: where the call is made, by a function that the module's method has called.
        place: of the size, among those that the call is given.

    Returns:
        The name; None if the size is, or may be, something else.
    """
    if site is None:
        return None
    try:
        calls = users_calls(site.calls)
        call = _expression(calls[-1])
        wanted = size_at(call, place) if isinstance(call, ast.Call) else None
        while len(calls) > 1 and isinstance(wanted, ast.Name):
            wanted = _given(calls, wanted.id)
            calls = calls[:-1]
        return _of_module(calls[-1], wanted)
    except RewriteError:
        return None


def _expression(frame: Frame) -> ast.AST:
    return find(tree_of(frame.code), frame.position)


def _of_module(frame: Frame, wanted: ast.expr | None) -> str | None:
    """Return the attribute that an expression reads of the module that a function is given."""
    match wanted:
        case ast.Attribute(value=ast.Name(id=owner)) if frame.is_given_module:
            is_first = owner == frame.code.co_varnames[0] and _is_argument(frame.code, owner)
            return wanted.attr if is_first else None
    return None


def _given(calls: Sequence[Frame], name: str) -> ast.expr | None:
    """Return what the last but one function passes to the last one as one of its arguments."""
    caller, code = calls[-2], calls[-1].code
    call = _expression(caller)
    if not (isinstance(call, ast.Call) and _is_argument(code, name)):
        return None
    function = _global(caller.code, call.func)
    if type(function) is not FunctionType or function.__code__ is not code:
        return None
    named = [keyword.value for keyword in call.keywords if keyword.arg == name]
    if named:
        return named[0]
    index = code.co_varnames.index(name)
    before = call.args[: index + 1]
    is_plain = len(before) > index and not any(isinstance(arg, ast.Starred) for arg in before)
    return before[index] if is_plain and index < code.co_argcount else None


def _is_argument(code: CodeType, name: str) -> bool:
    """Tell whether a name is that of an argument, which the function nowhere gives a new value."""
    arguments = code.co_varnames[: code.co_argcount + code.co_kwonlyargcount]
    return name in arguments and name not in (*code.co_cellvars, *_written(code))


def _written(code: CodeType) -> Iterator[str]:
    """Yield the local variables that a function writes or deletes."""
    for instruction in dis.get_instructions(code):
        if "STORE_FAST" in instruction.opname or "DELETE_FAST" in instruction.opname:
            several = instruction.argval if isinstance(instruction.argval, tuple) else ()
            yield from several or (instruction.argval,)


def _global(code: CodeType, named: ast.expr) -> Any:
    """Return what a name means in a function, if it is a variable of the function's file."""
    if not isinstance(named, ast.Name) or named.id not in code.co_names:
        return None
    if named.id in (*code.co_varnames, *code.co_cellvars, *code.co_freevars):
        return None
    path = os.path.abspath(file_of(code))
    found = [vars(m).get(named.id) for m in list(sys.modules.values()) if _file(m) == path]
    return found[0] if found and all(one is found[0] for one in found) else None


def _file(module: Any) -> str | None:
    path = getattr(module, "__file__", None) if isinstance(module, ModuleType) else None
    return os.path.abspath(path) if isinstance(path, str) else None
