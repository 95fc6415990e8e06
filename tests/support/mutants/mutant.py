"""All mutants of a file: one change each, in what runs and is not only read.

Left alone are docstrings, annotations, imports, decorators, the words of errors and logs, and
``__repr__``.
"""

from __future__ import annotations

import ast
import difflib
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from support.mutants.operators import OPERATORS, UNSEEN, Change, called_name
from support.mutants.sources import Scope, Source, extent

LOGGING = set("debug info warning warn error exception critical".split())
TYPED = set("isinstance issubclass cast TypeVar NewType".split())
UNREAD = {"annotation", "returns", "decorator_list", "bases"}


@dataclass(frozen=True)
class Mutant:
    """A file with one change.

    Args:
        file: the path from the root.
        line: where the change begins, from 1.
        column: where in it, from 0.
        operator: the kind of the change.
        before: the text that is replaced, on one line.
        after: what replaces it, on one line.
        lines: the lines of the statement around it.
        source: the text of the file with the change.
        original: the text of the file without it.
    """

    file: str
    line: int
    column: int
    operator: str
    before: str
    after: str
    lines: range = field(repr=False)
    source: str = field(repr=False)
    original: str = field(repr=False)

    @property
    def name(self) -> str:
        """What tells it from the others, on one line."""
        before, after = (json.dumps(t, ensure_ascii=False) for t in (self.before, self.after))
        return f"{self.file}:{self.line}:{self.column} {self.operator} {before} -> {after}"

    @property
    def is_imported(self) -> bool:
        """Whether what changes runs when the file is imported, outside of functions."""
        bodies = (
            range(node.body[0].lineno, (node.end_lineno or node.lineno) + 1)
            for node in ast.walk(ast.parse(self.original))
            if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))
        )
        return not any(self.line in body for body in bodies)

    @property
    def diff(self) -> str:
        """The change as a unified diff without context."""
        old, new = (text.splitlines(keepends=True) for text in (self.original, self.source))
        names = (f"a/{self.file}", f"b/{self.file}")
        # Empty lines were only added for the numbers of those behind them.
        return "".join(x for x in difflib.unified_diff(old, new, *names, n=0) if x.strip() != "+")


def mutants_of(root: Path, file: str) -> list[Mutant]:
    """Return the mutants of a file in a fixed order, each a program that differs from it."""
    source = Source((root / file).read_text())
    unchanged = ast.dump(source.tree)
    found: dict[str, Mutant] = {}
    for change, lines in _changes(source.tree, Scope(module=True), range(1, 2), source):
        text = source.replaced(change.node, change.after, lines[-1])
        try:
            if ast.dump(ast.parse(text)) == unchanged:
                continue
        except SyntaxError:
            continue
        mutant = Mutant(
            file,
            change.node.lineno,
            change.node.col_offset,
            change.operator,
            " ".join(source.segment(change.node).split()),
            " ".join(change.after.split()),
            lines,
            text,
            source.text,
        )
        found.setdefault(text, mutant)
    return sorted(found.values(), key=lambda m: (m.line, m.column, m.operator, m.after))


def _changes(
    node: ast.AST, scope: Scope, lines: range, source: Source
) -> Iterator[tuple[Change, range]]:
    """Yield the changes in a node and below it, and the lines of the statements they are in."""
    if isinstance(node, ast.stmt | ast.ExceptHandler | ast.match_case):
        lines = extent(node)
    for operator in OPERATORS.get(type(node), []):
        for change in operator(node, source, scope):
            yield change, lines
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
        scope = Scope.of(node)
    for child in _children(node):
        yield from _changes(child, scope, lines, source)


def _children(node: ast.AST) -> Iterator[ast.AST]:
    if _is_only_read(node):
        return
    for name, value in ast.iter_fields(node):
        if name in UNREAD or (name == "keywords" and isinstance(node, ast.ClassDef)):
            continue
        for child in value if isinstance(value, list) else [value]:
            unseen = isinstance(child, ast.keyword) and child.arg in UNSEEN
            if isinstance(child, ast.AST) and not unseen:
                yield child


def _is_only_read(node: ast.AST) -> bool:
    if isinstance(node, ast.FunctionDef):
        return node.name == "__repr__"
    if isinstance(node, ast.If):
        return isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"
    if isinstance(node, ast.Call):
        name = called_name(node.func)
        return name in LOGGING | TYPED or name.startswith("rank_zero_")
    # The positions of what is inside an f-string are not those in the file.
    return isinstance(node, ast.Raise | ast.JoinedStr)
