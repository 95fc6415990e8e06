"""Calls in a method that others of its module call, where each caller needs something else.

Every caller that was seen runs a copy of the method, with the call corrected or left as it is. In
the method itself the call raises: a caller that was not seen needs what nobody knows.
"""

from __future__ import annotations

import ast
from dataclasses import dataclass
from typing import Any, ClassVar

from typing_extensions import override

from lightning_prune.errors import RewriteError
from lightning_prune.runtime.corrections.base import Correction, load


@dataclass(frozen=True)
class Unchanged(Correction):
    """A call that is right as it is."""

    kind: ClassVar[str] = "unchanged"

    @override
    def wrap(self, name: str, node: ast.AST) -> ast.AST:
        """Return the expression itself."""
        return node

    @override
    def then(self, later: Correction) -> Correction | None:
        """Return what comes later."""
        return later


@dataclass(frozen=True)
class Unseen(Correction):
    """A call that was not seen from where its method is called now."""

    kind: ClassVar[str] = "unseen"

    @override
    def wrap(self, name: str, node: ast.AST) -> ast.AST:
        """Return a call that raises, in place of the expression."""
        if not isinstance(node, (ast.expr, ast.AugAssign)):
            raise RewriteError(f"{ast.unparse(node)} is no expression")
        raising = ast.Call(load(name), [], [])
        if isinstance(node, ast.AugAssign):
            node.value = raising
            return node
        return raising

    @override
    def then(self, later: Correction) -> Correction | None:
        """Return what comes later: from there it was seen."""
        return later

    def __call__(self) -> Any:
        """Raise.

        Raises:
            RuntimeError: always.
        """
        raise RuntimeError(
            "Expected a method whose sizes were corrected to be called from where it was called "
            "when the model was made smaller, but got a call from elsewhere. Compact the model of "
            "full size with an example that calls it so."
        )
