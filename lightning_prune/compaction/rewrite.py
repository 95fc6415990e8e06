"""Rewriting: a module's class, with some calls in the source of its methods corrected.

A size that a module keeps in a local variable, or a norm that must remember its width, cannot be
mended by changing an attribute. The method's own source is read, the calls named by edits are
wrapped in `corrections`, and the result becomes a method of a subclass. Helper functions on the way
to a call are rewritten with it. Nothing of the user's class or modules is changed; the subclass
pickles as its base and its edits.
"""

from __future__ import annotations
import __future__

import ast
import copy
import copyreg
import functools
import hashlib
import inspect
import linecache
import textwrap
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from types import CodeType, FunctionType
from typing import Any

from torch import nn

from lightning_prune.compaction.corrections import Correction
from lightning_prune.coupling.graph import Call, Position, Site
from lightning_prune.coupling.sites import is_torch
from lightning_prune.errors import RewriteError


@dataclass(frozen=True)
class Edit:
    """One call in a module's source that is corrected.

    Args:
        method: name of the module's method.
        path: where the method, and each function called on the way, calls the next one; at last
            the call to correct. Lines count from the function's first.
        correction: what stands in for the call.
        digest: of the method's source.
    """

    method: str
    path: tuple[Position, ...]
    correction: Correction
    digest: str


def edit_at(kind: type[nn.Module], site: Site, correction: Correction) -> Edit:
    """Return the edit that corrects the call at a site.

    Args:
        kind: the class of the module there.
        site: where the operation was called.
        correction: what stands in for the call.

    Returns:
        The edit.

    Raises:
        RewriteError: if the source cannot be read or the call not be found in it.
    """
    calls = _users_calls(site)
    function = _method(kind, calls[0].code.co_name)
    digest = hashlib.sha256(_source(function).encode()).hexdigest()[:16]
    path = []
    for index, call in enumerate(calls):
        if function.__code__ is not call.code:
            raise RewriteError(f"{call.code.co_qualname} is not what its caller's source names")
        first = call.code.co_firstlineno
        position = call.position
        position = position._replace(line=position.line - first, end_line=position.end_line - first)
        path.append(position)
        if index + 1 < len(calls):
            function = _callee(function, position).function
    return Edit(calls[0].code.co_name, tuple(path), correction, digest)


def expression_at(kind: type[nn.Module], edit: Edit) -> tuple[FunctionType, ast.AST]:
    """Return the function and the expression in its source that an edit is about.

    Args:
        kind: the class of the module.
        edit: the edit.

    Returns:
        The function, and the expression as a syntax tree.

    Raises:
        RewriteError: if the source cannot be read or the call not be found in it.
    """
    function = _method(kind, edit.method)
    for position in edit.path[:-1]:
        function = _callee(function, position).function
    return function, _find(_tree(function), edit.path[-1])


@functools.cache
def rewritten(kind: type, edits: tuple[Edit, ...]) -> type:
    """Return a subclass of ``kind`` in whose methods some calls are corrected.

    Args:
        kind: a module's class, which may be rewritten itself.
        edits: the corrections.

    Returns:
        The subclass; the same one for the same arguments.

    Raises:
        RewriteError: if the source is not the one for which the edits were made.
    """
    body: dict[str, Any] = {"_rewritten": (kind, edits), "__reduce_ex__": _reduce}
    body |= {name: getattr(kind, name) for name in ("__module__", "__qualname__", "__doc__")}
    for name in dict.fromkeys(edit.method for edit in edits):
        function = _method(kind, name)
        mine = [edit for edit in edits if edit.method == name]
        digest = hashlib.sha256(_source(function).encode()).hexdigest()[:16]
        if any(edit.digest != digest for edit in mine):
            raise RewriteError(f"the source of {kind.__qualname__}.{name} is not the one of then")
        body[name] = _edited(function, [(edit.path, edit.correction) for edit in mine])
    made: type = type(kind)(kind.__name__, (kind,), body)
    return made


def layers_of(kind: type) -> tuple[type, list[tuple[Edit, ...]]]:
    """Return the user's own class and the edits laid over it, the first ones first."""
    layers: list[tuple[Edit, ...]] = []
    while "_rewritten" in vars(kind):
        kind, edits = vars(kind)["_rewritten"]
        layers.insert(0, edits)
    return kind, layers


def relaid(kind: type, layers: Sequence[tuple[Edit, ...]]) -> type:
    """Lay edits over a class again, the first ones first."""
    return functools.reduce(rewritten, layers, kind)


def _reduce(self: nn.Module, protocol: Any) -> Any:
    """Pickle as the user's class and the edits, for the class itself has no importable name."""
    kind, layers = layers_of(type(self))
    reduced = super(vars(type(self))["_rewritten"][0], self).__reduce_ex__(protocol)
    if reduced[0] is copyreg.__newobj__ and reduced[1] == (type(self),):  # type: ignore[attr-defined]
        return (_new, (kind, layers), *reduced[2:])
    return reduced


def _new(kind: type, layers: list[tuple[Edit, ...]]) -> Any:
    made = relaid(kind, layers)
    return object.__new__(made)


# Where the call stands.


def _users_calls(site: Site) -> list[Call]:
    """Return the calls down to the innermost one in the user's code, or in torch's own module."""
    calls = list(site.calls)
    while len(calls) > 1 and is_torch(calls[-1].code):
        calls.pop()
    merged: list[Call] = []
    for call in calls:
        if merged and call.code in merged[-1].code.co_consts:
            # A lambda or a comprehension stands in the source of the function around it.
            merged[-1] = Call(merged[-1].code, call.position)
        else:
            merged.append(call)
    return merged


def _method(kind: type, name: str) -> FunctionType:
    function = inspect.unwrap(inspect.getattr_static(kind, name))
    if not isinstance(function, FunctionType):
        raise RewriteError(f"{kind.__qualname__}.{name} is not a function with source")
    return function


def _source(function: FunctionType) -> str:
    try:
        return "".join(inspect.getsourcelines(function)[0])
    except (OSError, TypeError) as error:
        raise RewriteError(f"no source of {function.__qualname__}") from error


@functools.cache
def _parsed(code: CodeType, source: str) -> ast.Module:
    indented = source[:1].isspace()
    try:
        tree = ast.parse("if 1:\n" + source if indented else source)
    except SyntaxError as error:
        raise RewriteError(f"the source of {code.co_qualname} does not stand alone") from error
    ast.increment_lineno(tree, -2 if indented else -1)
    return tree


def _tree(function: FunctionType) -> ast.Module:
    """Return the syntax tree of a function's source; its first line has number 0."""
    return _parsed(function.__code__, _source(function))


def _find(tree: ast.AST, position: Position) -> ast.AST:
    """Return the expression that stands at ``position``."""
    nodes = [n for n in ast.walk(tree) if isinstance(n, (ast.expr, ast.AugAssign))]
    for node in nodes:
        if (node.lineno, node.end_lineno, node.col_offset, node.end_col_offset) == position:
            return node
    for node in nodes:  # of a method called over several lines only the end is told
        end = (node.end_lineno, node.end_col_offset)
        if isinstance(node, ast.Call) and end == (position.end_line, position.end_column):
            return node
    raise RewriteError("the call is not found in the source")


@dataclass(frozen=True)
class _Callee:
    """A function that a call expression names, and what it is called with first."""

    function: FunctionType
    bound_to: str | None = None


def _callee(function: FunctionType, position: Position) -> _Callee:
    """Return the function that the call at ``position`` of ``function`` calls."""
    node = _find(_tree(function), position)
    named = node.func if isinstance(node, ast.Call) else None
    if isinstance(named, ast.Attribute) and _is_super(named.value):
        instance = function.__code__.co_varnames[0]
        here = inspect.getclosurevars(function).nonlocals.get("__class__")
        if isinstance(here, type):
            for kind in here.__mro__[1:]:
                if named.attr in vars(kind):
                    return _Callee(_method(kind, named.attr), instance)
    found = inspect.unwrap(_value(function, named))
    if not isinstance(found, FunctionType):
        raise RewriteError(f"{function.__qualname__} calls something without source")
    return _Callee(found)


def _is_super(node: ast.AST) -> bool:
    return (
        isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "super"
    )


def _value(function: FunctionType, node: ast.AST | None) -> Any:
    """Return what a dotted name means in ``function``; it must not be a local variable."""
    if isinstance(node, ast.Attribute):
        return getattr(_value(function, node.value), node.attr, None)
    if isinstance(node, ast.Name):
        variables = inspect.getclosurevars(function)
        for scope in (variables.nonlocals, variables.globals, variables.builtins):
            if node.id in scope:
                return scope[node.id]
    return None


# The edited function.

_Task = tuple[tuple[Position, ...], Correction]


def _edited(function: FunctionType, tasks: Sequence[_Task]) -> Callable[..., Any]:
    """Return ``function`` with calls corrected, decorated as it was."""
    tree = copy.deepcopy(_tree(function))
    changer = _Changer(function)
    for position in dict.fromkeys(path[0] for path, _ in tasks):
        node = _find(tree, position)
        inner = [(path[1:], one) for path, one in tasks if path[0] == position and path[1:]]
        if inner:
            callee = _callee(function, position)
            changer.reroute(node, _edited(callee.function, inner), callee.bound_to)
        for path, correction in tasks:
            if path == (position,):
                changer.correct(node, correction)
    names = {**inspect.getclosurevars(function).nonlocals, **changer.helpers}
    body = ast.unparse(changer.visit(tree.body[0] if _is_block(tree) else tree))
    text = f"def _factory({', '.join(names)}):\n{textwrap.indent(body, '    ')}\n"
    text += f"    return {function.__name__}\n"
    digest = hashlib.sha256(text.encode()).hexdigest()[:8]
    filename = f"<lightning_prune {function.__qualname__} {digest}>"
    linecache.cache[filename] = (len(text), None, text.splitlines(True), filename)
    flags = function.__code__.co_flags & __future__.annotations.compiler_flag
    scope: dict[str, Any] = {}
    try:
        exec(compile(text, filename, "exec", flags, True), function.__globals__, scope)
        made: Callable[..., Any] = scope["_factory"](**names)
    except Exception as error:  # whatever decorators and defaults may raise
        raise RewriteError(f"{function.__qualname__} cannot be made anew: {error}") from error
    return made


def _is_block(tree: ast.Module) -> bool:
    return isinstance(tree.body[0], ast.If)


class _Changer(ast.NodeTransformer):
    """Wraps expressions of one function in helpers."""

    def __init__(self, function: FunctionType) -> None:
        self.helpers: dict[str, Any] = {}
        self._wraps: dict[ast.AST, list[Callable[[Any], ast.AST]]] = {}
        kind = function.__qualname__.split(".")[-2:-1]
        self._private = f"_{kind[0].lstrip('_')}" if kind else ""

    def reroute(self, node: ast.AST, function: Callable[..., Any], instance: str | None) -> None:
        """Let the call ``node`` call ``function`` instead, with ``instance`` first if given."""
        name = self._helper(function.__name__, function)

        def wrap(call: ast.Call) -> ast.AST:
            first = [] if instance is None else [_name(instance)]
            return ast.Call(_name(name), [*first, *call.args], call.keywords)

        self._wraps.setdefault(node, []).append(wrap)

    def correct(self, node: ast.AST, correction: Correction) -> None:
        """Let ``correction`` stand in for the expression ``node``."""
        wrap = _WRAPS.get(type(node))
        if wrap is None:
            raise RewriteError(f"no correction of {ast.unparse(node)}")
        if isinstance(node, ast.Call) and correction.kind == "pin":
            correction = replace(correction, kind="pin_argument")
        name = self._helper(correction.kind, correction.function())
        self._wraps.setdefault(node, []).append(lambda found: wrap(name, found))

    def _helper(self, name: str, function: Callable[..., Any]) -> str:
        unique = f"{name}_{len(self.helpers)}"
        self.helpers[unique] = function
        return unique

    def visit(self, node: ast.AST) -> Any:
        """Change what is below ``node``, then ``node`` itself."""
        wraps = self._wraps.get(node, [])
        changed = self.generic_visit(node)
        if isinstance(changed, ast.Attribute):
            changed.attr = self._mangled(changed.attr)
        for wrap in wraps:
            changed = wrap(changed)
        return changed

    def _mangled(self, name: str) -> str:
        """Return the name that a private name has outside of its class."""
        private = name.startswith("__") and not name.endswith("__")
        return f"{self._private}{name}" if private else name


def _name(name: str) -> ast.Name:
    return ast.Name(name, ast.Load())


def _wrap_call(helper: str, node: ast.Call) -> ast.AST:
    return ast.Call(_name(helper), [node.func, *node.args], node.keywords)


def _wrap_operator(helper: str, node: ast.BinOp) -> ast.AST:
    node.left, node.right = _pinned(helper, node.left), _pinned(helper, node.right)
    return node


def _wrap_assignment(helper: str, node: ast.AugAssign) -> ast.AST:
    node.value = _pinned(helper, node.value)
    return node


def _wrap_comparison(helper: str, node: ast.Compare) -> ast.AST:
    node.left = _pinned(helper, node.left)
    node.comparators = [_pinned(helper, one) for one in node.comparators]
    return node


def _pinned(helper: str, node: ast.expr) -> ast.expr:
    return node if isinstance(node, ast.Constant) else ast.Call(_name(helper), [node], [])


def _wrap_index(helper: str, node: ast.Subscript) -> ast.AST:
    if not isinstance(node.ctx, ast.Load):
        raise RewriteError(f"{ast.unparse(node)} is written to")
    index: ast.expr = node.slice
    if isinstance(index, ast.Tuple):
        index = ast.Tuple([_as_value(one) for one in index.elts], ast.Load())
    return ast.Call(_name(helper), [node.value, _as_value(index)], [])


def _as_value(node: ast.expr) -> ast.expr:
    """Return ``a:b:c`` as a call of ``slice``; it has no other form outside of brackets."""
    if not isinstance(node, ast.Slice):
        return node
    parts = [part or ast.Constant(None) for part in (node.lower, node.upper, node.step)]
    return ast.Call(_name("slice"), parts, [])


_WRAPS: dict[type[ast.AST], Callable[[str, Any], ast.AST]] = {
    ast.Call: _wrap_call,
    ast.BinOp: _wrap_operator,
    ast.AugAssign: _wrap_assignment,
    ast.Compare: _wrap_comparison,
    ast.Subscript: _wrap_index,
}
