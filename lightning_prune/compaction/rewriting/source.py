"""Source: the functions and the expressions that a site names, in the user's source.

Everything here reads. What cannot be read, or is not what ran, raises `RewriteError`.
"""

from __future__ import annotations

import ast
import functools
import inspect
from dataclasses import dataclass
from types import CodeType, FunctionType
from typing import Any

from lightning_prune.coupling.graph import Position
from lightning_prune.coupling.sites import file_of, unwrapped
from lightning_prune.errors import RewriteError
from lightning_prune.runtime.callees import Callees


@dataclass(frozen=True)
class Source:
    """A function with source.

    Args:
        function: the function itself, below its decorators.
        decorated: what its name stands for: the function, or what decorators made of it.
    """

    function: FunctionType
    decorated: Any

    @property
    def text(self) -> str:
        """The source, from the first decorator on.

        Raises:
            RewriteError: if it cannot be read.
        """
        return _text(self.function.__code__)

    @property
    def first_line(self) -> int:
        """Line of the file at which the source starts."""
        return self.function.__code__.co_firstlineno

    @property
    def tree(self) -> ast.AST:
        """The statement that defines the function, with the lines of the file."""
        return tree_of(self.function.__code__)

    def find(self, position: Position) -> ast.AST:
        """Return the expression at ``position``, with lines counted from the source's first.

        Raises:
            RewriteError: if there is none.
        """
        return find(self.tree, moved(position, self.first_line))

    def is_what_ran(self, code: CodeType) -> bool:
        """Tell whether ``code`` is that of this function or of a copy of it."""
        own = self.function.__code__
        return file_of(code) == file_of(own) and code.co_qualname == own.co_qualname


def tree_of(code: CodeType) -> ast.AST:
    """Return the statement that defines a function, with the lines of the file.

    Raises:
        RewriteError: if its source cannot be read.
    """
    return _parsed(code, _text(code))


def method_of(kind: type, name: str) -> Source:
    """Return the method that instances of ``kind`` run.

    Args:
        kind: a class.
        name: of the method or property.

    Returns:
        The method.

    Raises:
        RewriteError: if it is not made of source.
    """
    return _source(inspect.getattr_static(kind, name, None), f"{kind.__qualname__}.{name}")


def own_method_called(
    source: Source, node: ast.AST, kind: type, callees: Callees = ()
) -> str | None:
    """Return the name of the method that a method calls of its own module; None if it is none.

    Args:
        source: a method of ``kind``.
        node: the call.
        kind: the class of the module.
        callees: what attributes of the module call; these hide methods.
    """
    code = source.function.__code__
    match node:
        case ast.Call(func=ast.Attribute(value=ast.Name(id=owner), attr=name)) if code.co_argcount:
            found = inspect.getattr_static(kind, name, None)
            is_own = owner == code.co_varnames[0] and isinstance(found, FunctionType)
            return name if is_own and name not in dict(callees) else None
    return None


def called_by(source: Source, node: ast.AST, kind: type, callees: Callees = ()) -> Source:
    """Return the function that a call expression calls.

    Args:
        source: the function in which the call stands.
        node: the call.
        kind: the class of the module whose method the call is made for.
        callees: what attributes of that module call, if the function is a method of it.

    Returns:
        The function called.

    Raises:
        RewriteError: if that cannot be told, or has no source.
    """
    if not isinstance(node, ast.Call):
        raise RewriteError(f"{source.function.__qualname__} calls it without naming it")
    found = None
    if isinstance(node.func, ast.Attribute):
        found = attribute_called(source, node.func, callees)
        found = _method_called(source, node.func, kind) if found is None else found
    if found is None:
        found = value_of(source.function, node.func)
    return _source(found, f"what {source.function.__qualname__} calls")


def attribute_called(source: Source, named: ast.expr, callees: Callees) -> FunctionType | None:
    """Return what ``self.name(...)`` calls in a method, if it is the value of an attribute."""
    code = source.function.__code__
    match named:
        case ast.Attribute(value=ast.Name(id=owner)) if code.co_argcount:
            return dict(callees).get(named.attr) if owner == code.co_varnames[0] else None
    return None


def is_super(node: ast.AST) -> bool:
    """Tell whether an expression is a plain ``super()``."""
    named = isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and not node.args
    return named and node.func.id == "super"  # type: ignore[attr-defined]


def value_of(function: FunctionType, node: ast.AST | None) -> Any:
    """Return what a dotted name means in ``function``; None if it is a local variable."""
    if isinstance(node, ast.Attribute):
        return getattr(value_of(function, node.value), node.attr, None)
    code = function.__code__
    if not isinstance(node, ast.Name) or node.id in (*code.co_varnames, *code.co_cellvars):
        return None
    cells = dict(zip(code.co_freevars, function.__closure__ or (), strict=True))
    if node.id in cells:
        return cell_contents(cells[node.id])
    scope = function.__globals__
    return scope.get(node.id, _builtins(scope).get(node.id))


def cell_contents(cell: Any) -> Any:
    """Return what a variable of an enclosing function holds; None if nothing."""
    try:
        return cell.cell_contents
    except ValueError:
        return None


def find(tree: ast.AST, position: Position) -> ast.AST:
    """Return the expression of ``tree`` that stands at ``position``.

    Raises:
        RewriteError: if there is none.
    """
    nodes = _expressions(tree)
    if position in nodes:
        return nodes[position]
    for own, node in nodes.items():  # of a method called over several lines only the end is told
        end = (own.end_line, own.end_column)
        if isinstance(node, ast.Call) and end == (position.end_line, position.end_column):
            return node
    raise RewriteError("the call is not found in the source")


@functools.cache
def _expressions(tree: ast.AST) -> dict[Position, ast.AST]:
    """Return the outermost expression at every position of a tree, which must not change."""
    found: dict[Position, ast.AST] = {}
    for node in ast.walk(tree):
        if isinstance(node, (ast.expr, ast.AugAssign)):
            found.setdefault(position_of(node), node)
    return found


def position_of(node: ast.AST) -> Position:
    """Return where an expression stands."""
    names = ("lineno", "end_lineno", "col_offset", "end_col_offset")
    return Position(*(getattr(node, name) for name in names))


def _method_called(source: Source, named: ast.Attribute, kind: type) -> Any:
    """Return what ``super().name`` or, for a static method, ``self.name`` stands for."""
    code = source.function.__code__
    if is_super(named.value):
        cells = dict(zip(code.co_freevars, source.function.__closure__ or (), strict=True))
        here = cell_contents(cells["__class__"]) if "__class__" in cells else None
        after = kind.__mro__[kind.__mro__.index(here) + 1 :] if here in kind.__mro__ else ()
        return next((vars(k)[named.attr] for k in after if named.attr in vars(k)), None)
    first = code.co_varnames[0] if code.co_argcount else None
    if isinstance(named.value, ast.Name) and named.value.id == first:
        found = inspect.getattr_static(kind, named.attr, None)
        return found if isinstance(found, staticmethod) else None
    return None


def _source(decorated: Any, what: str) -> Source:
    function = unwrapped(decorated)
    if not isinstance(function, FunctionType):
        raise RewriteError(f"{what} has no source")
    return Source(function, decorated)


def _builtins(scope: dict[str, Any]) -> dict[str, Any]:
    found = scope.get("__builtins__", {})
    return found if isinstance(found, dict) else vars(found)


def moved(position: Position, lines: int) -> Position:
    """Return a position some lines further down."""
    return position._replace(line=position.line + lines, end_line=position.end_line + lines)


@functools.cache
def _text(code: CodeType) -> str:
    try:
        return "".join(inspect.getsourcelines(code)[0])
    except (OSError, TypeError) as error:
        raise RewriteError(f"no source of {code.co_qualname}") from error


@functools.cache
def _parsed(code: CodeType, text: str) -> ast.AST:
    indented = text[:1].isspace()
    try:
        tree = ast.parse("if 1:\n" + text if indented else text)
    except SyntaxError as error:
        raise RewriteError(f"the source of {code.co_qualname} does not stand alone") from error
    ast.increment_lineno(tree, code.co_firstlineno - (2 if indented else 1))
    statement = tree.body[0]
    return statement.body[0] if indented and isinstance(statement, ast.If) else statement
