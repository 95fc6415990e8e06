"""The text of one Python file and where the nodes of its syntax tree stand in it."""

from __future__ import annotations

import ast
from collections import Counter
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Scope:
    """The function around a node.

    Args:
        returns_bool: whether it is annotated to return a bool.
        bound: how often it binds each local name, its arguments included.
    """

    returns_bool: bool = False
    bound: Counter[str] = field(default_factory=Counter)
    module: bool = False

    @classmethod
    def of(cls, function: ast.FunctionDef | ast.AsyncFunctionDef) -> Scope:
        arguments = [node.arg for node in ast.walk(function.args) if isinstance(node, ast.arg)]
        stores = [
            node.id
            for node in ast.walk(function)
            if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)
        ]
        returns = function.returns
        return cls(
            returns_bool=isinstance(returns, ast.Name) and returns.id == "bool",
            bound=Counter(arguments + stores),
        )


class Source:
    """A text, its tree, and the positions of nodes as character offsets.

    Args:
        text: of a Python file.
    """

    def __init__(self, text: str) -> None:
        self.text = text
        self.tree = ast.parse(text)
        self.lines = text.splitlines(keepends=True)
        self._starts = [0]
        for line in self.lines:
            self._starts.append(self._starts[-1] + len(line))

    def start(self, node: ast.expr | ast.stmt) -> int:
        return self._offset(node.lineno, node.col_offset)

    def end(self, node: ast.expr | ast.stmt) -> int:
        assert node.end_lineno is not None
        assert node.end_col_offset is not None
        return self._offset(node.end_lineno, node.end_col_offset)

    def segment(self, node: ast.expr | ast.stmt) -> str:
        return self.text[self.start(node) : self.end(node)]

    def replaced(self, node: ast.expr | ast.stmt, after: str, last: int) -> str:
        """Return the text with ``after`` in place of a node.

        The lines behind it keep their numbers: missing ones are made up for after line ``last``,
        which ends the statement.
        """
        start, end, gap = self.start(node), self.end(node), self._starts[last]
        missing = "\n" * (self.text.count("\n", start, end) - after.count("\n"))
        return self.text[:start] + after + self.text[end:gap] + missing + self.text[gap:]

    def _offset(self, line: int, column: int) -> int:
        # The tree counts columns in bytes.
        before = self.lines[line - 1].encode()[:column].decode()
        return self._starts[line - 1] + len(before)


def extent(node: ast.stmt | ast.ExceptHandler | ast.match_case) -> range:
    """Return the lines of a statement; of a compound one those of its header."""
    first = node.pattern.lineno if isinstance(node, ast.match_case) else node.lineno
    body = getattr(node, "body", None)
    if body:
        return range(first, max(first + 1, body[0].lineno))
    assert not isinstance(node, ast.match_case)
    return range(first, (node.end_lineno or first) + 1)
