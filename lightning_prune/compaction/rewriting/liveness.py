"""Liveness: the statements of a function that nothing needs any more.

When an operand is taken out of an expression, the statements that computed it are left without a
reader. They are found by going through the function backwards with the set of names that are still
to be read. Loops and everything unusual count as reading all their names.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator, Sequence

from typing_extensions import override

from lightning_prune.compaction.rewriting.source import position_of
from lightning_prune.coupling.graph import Position

_Function = ast.FunctionDef | ast.AsyncFunctionDef


def unneeded(function: _Function, needed: Iterable[Position] = ()) -> set[Position]:
    """Return the assignments to local names that nobody reads, and those that only serve these.

    Args:
        function: a function with positions.
        needed: of statements that count as needed.

    Returns:
        The positions of the statements.
    """
    if any(name in {"locals", "vars", "eval", "exec"} for name in _names(function)):
        return set()
    liveness = _Liveness(frozenset(needed), _captured(function))
    liveness.block(function.body, set())
    return liveness.dead


def without(function: _Function, dead: Iterable[Position]) -> None:
    """Take statements out of a function, in place."""
    _Remover(frozenset(dead)).visit(function)


class _Liveness:
    """Goes through statements backwards.

    Args:
        needed: positions of statements that count as needed.
        captured: names that inner functions read, at any time.
    """

    def __init__(self, needed: frozenset[Position], captured: set[str]) -> None:
        self.dead: set[Position] = set()
        self._needed = needed
        self._later = captured

    def block(self, body: Sequence[ast.stmt], live: set[str]) -> set[str]:
        """Return the names to be read before ``body``, given those to be read after it."""
        for statement in reversed(body):
            live = self._statement(statement, live)
        return live

    def _statement(self, statement: ast.stmt, live: set[str]) -> set[str]:
        match statement:
            case ast.Return() | ast.Raise():
                return set(_names(statement))
            case ast.If():
                then = self.block(statement.body, live)
                return then | self.block(statement.orelse, live) | set(_names(statement.test))
            case ast.With():
                # The context may swallow an error, and go on from anywhere inside.
                outer, self._later = self._later, self._later | live
                inside = self.block(statement.body, live)
                self._later = outer
                return inside.union(live, *(set(_names(item)) for item in statement.items))
            case ast.Assign() | ast.AnnAssign() if (assigned := _assigned(statement)) is not None:
                here = position_of(statement)
                if assigned.isdisjoint(live | self._later) and here not in self._needed:
                    self.dead.add(here)
                    return live
                return (live - assigned) | set(_names(statement.value))
            case _:
                return live | set(_names(statement))


def _assigned(statement: ast.Assign | ast.AnnAssign) -> set[str] | None:
    """Return the names that a plain assignment sets; None if it does more than that."""
    targets = statement.targets if isinstance(statement, ast.Assign) else [statement.target]
    plain = (ast.Name, ast.Tuple, ast.List, ast.Starred, ast.Store)
    if any(not isinstance(node, plain) for target in targets for node in ast.walk(target)):
        return None
    more = (ast.NamedExpr, ast.Await, ast.Yield, ast.YieldFrom)
    if statement.value is None or any(isinstance(n, more) for n in ast.walk(statement.value)):
        return None
    return {name for target in targets for name in _names(target)}


def _captured(function: _Function) -> set[str]:
    """Return the names that functions inside of a function use."""
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.Lambda)
    inner = [n for s in function.body for n in ast.walk(s) if isinstance(n, kinds)]
    outer = [
        n for s in ast.walk(function) if isinstance(s, (ast.Global, ast.Nonlocal)) for n in s.names
    ]
    return {name for node in inner for name in _names(node)} | set(outer)


def _names(node: ast.AST | None) -> Iterator[str]:
    if node is not None:
        yield from (found.id for found in ast.walk(node) if isinstance(found, ast.Name))


class _Remover(ast.NodeTransformer):
    """Takes statements out; a block that lost all of them passes."""

    def __init__(self, dead: frozenset[Position]) -> None:
        self._dead = dead

    @override
    def generic_visit(self, node: ast.AST) -> ast.AST:
        """Change what is below ``node``."""
        for field in ("body", "orelse", "finalbody"):
            block = getattr(node, field, None)
            if isinstance(block, list):
                kept = [s for s in block if not self._is_dead(s)]
                if block and not kept and field == "body":
                    kept = [ast.copy_location(ast.Pass(), block[0])]
                setattr(node, field, kept)
        return super().generic_visit(node)

    def _is_dead(self, statement: ast.stmt) -> bool:
        plain = isinstance(statement, (ast.Assign, ast.AnnAssign))
        return plain and position_of(statement) in self._dead
