"""Wrap: a copy of a function in which some expressions are corrected.

The syntax tree of its source is changed and compiled. Where a sum is reduced to one of its terms,
what only computed the other one is left out. Everything else is the function's own:
defaults, global variables and those of enclosing functions, decorators. Positions stay those of
the source, so that a copy can be found there, and be copied again; the source that is shown for a
copy has the same lines.
"""

from __future__ import annotations

import ast
import copy
import inspect
import re
from collections.abc import Callable, Iterator, Mapping
from types import CellType, CodeType, FunctionType
from typing import Any

from typing_extensions import override

from lightning_prune.compaction.rewriting.callees import require_call
from lightning_prune.compaction.rewriting.liveness import unneeded, without
from lightning_prune.compaction.rewriting.shown import show
from lightning_prune.compaction.rewriting.source import (
    Source,
    attribute_called,
    cell_contents,
    is_super,
    moved,
    position_of,
)
from lightning_prune.coupling.graph import Position
from lightning_prune.errors import RewriteError
from lightning_prune.runtime.callees import Callees, Rerouted, ReroutedMethod
from lightning_prune.runtime.corrections import Correction
from lightning_prune.runtime.corrections.base import load


class Changer:
    """Collects the changes of one function, and makes the copy.

    Args:
        source: the function.
    """

    def __init__(self, source: Source) -> None:
        self.source = source
        self._original = source.tree
        self._tree = copy.deepcopy(self._original)
        self._same = dict(zip(ast.walk(self._original), ast.walk(self._tree), strict=True))
        self._wraps: dict[ast.AST, list[Callable[[Any], ast.AST]]] = {}
        self._helpers: dict[str, Any] = {}
        self._taken = {node.id for node in ast.walk(self._tree) if isinstance(node, ast.Name)}
        self._taken |= {node.arg for node in ast.walk(self._tree) if isinstance(node, ast.arg)}

    def correct(self, position: Position, correction: Correction) -> None:
        """Let ``correction`` stand in for the expression at ``position``.

        Raises:
            RewriteError: if it cannot.
        """
        node = self._find(position)
        if isinstance(node, ast.Call):
            require_call(self.source, node, correction)
        name = self._helper(correction.kind, correction)
        self._wrap(node, lambda found: correction.wrap(name, found))

    def reroute(self, position: Position, function: Any, callees: Callees = ()) -> None:
        """Let the call at ``position`` call ``function`` instead.

        Args:
            position: where the call stands.
            function: what it calls.
            callees: what attributes of the module call.

        Raises:
            RewriteError: if there is no call.
        """
        node = self._find(position)
        if not isinstance(node, ast.Call):
            raise RewriteError(f"{ast.unparse(node)} is no call")
        first: list[ast.expr] = []
        original = attribute_called(self.source, node.func, callees)
        if original is not None:
            first, function = [node.func], Rerouted(original, function)
        elif isinstance(node.func, ast.Attribute) and is_super(node.func.value):
            first = [load(self.source.function.__code__.co_varnames[0])]
        called = getattr(node.func, "attr", getattr(node.func, "id", "function"))
        name = self._helper(f"corrected_{called}", function)
        self._wrap(node, lambda it: ast.Call(load(name), [*first, *it.args], it.keywords))

    def reroute_method(self, position: Position, method: ReroutedMethod) -> None:
        """Let the call of a method of the module's own call ``method`` instead."""
        name = self._helper(f"corrected_{method.name}", method)
        self._wrap(
            self._find(position), lambda it: ast.Call(load(name), [it.func, *it.args], it.keywords)
        )

    def _find(self, position: Position) -> ast.AST:
        """Return the expression that stands just there, so that none is changed twice."""
        node = self.source.find(position)
        if position_of(node) != moved(position, self.source.first_line):
            raise RewriteError("the call is not found in the source")
        return node

    def _wrap(self, node: ast.AST, wrap: Callable[[Any], ast.AST]) -> None:
        self._wraps.setdefault(self._same[node], []).append(wrap)

    def _helper(self, name: str, function: Any) -> str:
        number = len(self._helpers)
        while f"{name}_{number}" in self._taken:
            number += 1
        self._taken.add(f"{name}_{number}")
        self._helpers[f"{name}_{number}"] = function
        return f"{name}_{number}"

    def copy(self) -> Any:
        """Return what stands for the copy: it, or what the same decorators make of it.

        Raises:
            RewriteError: if it cannot be made.
        """
        function = self.source.function
        rewriter = _Rewriter(self._wraps)
        tree = rewriter.visit(self._tree)
        defined = (ast.FunctionDef, ast.AsyncFunctionDef)
        if not isinstance(tree, defined) or not isinstance(self._original, defined):
            raise RewriteError(f"{function.__qualname__} is not defined by a statement of its own")
        # What was computed for nobody in the first place stays.
        dead = unneeded(tree, needed=unneeded(self._original))
        without(tree, dead)
        file = show(self.source, dict.fromkeys(dead, "pass") | self._shown(rewriter.changed))
        code = _compiled(tree, function, list(self._helpers), file)
        cells = dict(zip(function.__code__.co_freevars, function.__closure__ or (), strict=True))
        cells |= {name: CellType(helper) for name, helper in self._helpers.items()}
        closure = tuple(cells[name] for name in code.co_freevars)
        made = _like(function, code, closure)
        return _decorated(self.source.decorated, function, made)

    def _shown(self, changed: Mapping[Position, ast.AST]) -> dict[Position, str]:
        """Return what stands in the source of the copy, with the corrections themselves."""
        corrections = {n: repr(c) for n, c in self._helpers.items() if isinstance(c, Correction)}

        def shown(node: ast.AST) -> str:
            return re.sub(r"\w+", lambda word: corrections.get(word[0], word[0]), ast.unparse(node))

        return {position: shown(node) for position, node in changed.items()}


class _Rewriter(ast.NodeTransformer):
    """Replaces expressions by what wraps them, at the same positions."""

    def __init__(self, wraps: dict[ast.AST, list[Callable[[Any], ast.AST]]]) -> None:
        self.changed: dict[Position, ast.AST] = {}
        self._wraps = wraps

    @override
    def visit(self, node: ast.AST) -> Any:
        """Change what is below ``node``, then ``node`` itself."""
        changed = self.generic_visit(node)
        for wrap in self._wraps.get(node, ()):
            changed = wrap(changed)
            for new in ast.walk(changed):
                if isinstance(new, (ast.expr, ast.stmt)) and not hasattr(new, "lineno"):
                    ast.copy_location(new, node)
        if node in self._wraps:
            self.changed[position_of(node)] = changed
        return changed


def _compiled(
    tree: ast.FunctionDef | ast.AsyncFunctionDef,
    function: FunctionType,
    helpers: list[str],
    file: str,
) -> CodeType:
    """Return the code of the changed function, with helpers as variables from outside."""
    tree.decorator_list, tree.returns = [], None
    if hasattr(tree, "type_params"):
        tree.type_params = []
    tree.args.defaults, tree.args.kw_defaults = [], [None for _ in tree.args.kwonlyargs]
    for argument in ast.walk(tree.args):
        if isinstance(argument, ast.arg):
            argument.annotation = None
    body: ast.stmt = tree
    kind = function.__qualname__.split(".")[-2:-1]
    if kind and kind[0].isidentifier():  # private names are mangled with the name of the class
        body = ast.parse(f"class {kind[0]}: pass").body[0]
        body.body = [tree]  # type: ignore[attr-defined]
    free = [*function.__code__.co_freevars, *helpers]
    factory = ast.parse(f"def _factory({', '.join(free)}): pass")
    factory.body[0].body = [body]  # type: ignore[attr-defined]
    try:
        code = compile(factory, file, "exec", dont_inherit=True)
    except (SyntaxError, ValueError) as error:
        raise RewriteError(f"{function.__qualname__} cannot be made anew: {error}") from error
    inside = _codes(next(_codes(code)))
    found = next(c for c in inside if c.co_name == function.__code__.co_name)
    return found.replace(co_qualname=function.__code__.co_qualname)


def _codes(code: CodeType) -> Iterator[CodeType]:
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield constant
            yield from _codes(constant)


def _like(function: FunctionType, code: CodeType, closure: tuple[CellType, ...]) -> FunctionType:
    """Return a function that differs from another one in its code and its outer variables."""
    made = FunctionType(
        code, function.__globals__, function.__name__, function.__defaults__, closure
    )
    for name in ("__kwdefaults__", "__annotations__", "__doc__", "__qualname__", "__module__"):
        setattr(made, name, getattr(function, name))
    vars(made).update(vars(function))
    return made


def _decorated(decorated: Any, function: FunctionType, made: FunctionType) -> Any:
    """Return ``decorated`` with ``made`` in place of ``function``; no decorator runs again."""
    if decorated is function:
        return made
    if isinstance(decorated, property):
        getter = _decorated(decorated.fget, function, made)
        return property(getter, decorated.fset, decorated.fdel, decorated.__doc__)
    if isinstance(decorated, (staticmethod, classmethod)):
        return type(decorated)(_decorated(decorated.__func__, function, made))
    wrapped = inspect.getattr_static(decorated, "__wrapped__", None)
    cells = decorated.__closure__ or () if isinstance(decorated, FunctionType) else ()
    if not any(cell_contents(cell) is wrapped for cell in cells):
        raise RewriteError(f"the decorators of {function.__qualname__} cannot be repeated")
    inner = _decorated(wrapped, function, made)
    closure = tuple(CellType(inner) if cell_contents(c) is wrapped else c for c in cells)
    outer = _like(decorated, decorated.__code__, closure)
    outer.__wrapped__ = inner  # type: ignore[attr-defined]
    return outer
