"""Corrections of sums: one of the two terms is left."""

from __future__ import annotations

import ast
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor
from typing_extensions import override

from lightning_prune.runtime.corrections.base import Correction, load, misfit, require


@dataclass(frozen=True)
class KeepTerm(Correction):
    """Stand in for a sum of which one term is left.

    Args:
        index: which term, 0 or 1.
        copied: later operations write into the sum, so that it needs memory of its own.
    """

    kind: ClassVar[str] = "keep_term"
    calls: ClassVar[frozenset[str]] = frozenset({"add"})

    index: int
    copied: bool

    def __post_init__(self) -> None:
        require(type(self.index) is int and self.index in {0, 1}, "index", "0 or 1", self.index)
        require(type(self.copied) is bool, "copied", "true or false", self.copied)

    @override
    def wrap(self, name: str, node: ast.AST) -> ast.AST:
        """Return the term that is left, in a call of the correction."""
        match node:
            case ast.BinOp(op=ast.Add()):
                return ast.Call(load(name), [(node.left, node.right)[self.index]], [])
            case ast.AugAssign(op=ast.Add(), target=ast.Name(id=target)):
                kept = (load(target), node.value)[self.index]
                return ast.Assign([node.target], ast.Call(load(name), [kept], []))
            case ast.Call() if len(terms := _terms(node)) == 2:
                return ast.Call(load(name), [terms[self.index]], [])
        raise misfit(self, node)

    def __call__(self, term: Tensor) -> Tensor:
        """Return the term that is left, or a copy of it."""
        return term.clone() if self.copied else term

    @override
    def then(self, later: Correction) -> Correction | None:
        """Keep the later choice."""
        return later if isinstance(later, KeepTerm) else None


def _terms(call: ast.Call) -> list[ast.expr]:
    """Return what a function or a method of a tensor is called with to add it."""
    named = {keyword.arg: keyword.value for keyword in call.keywords}
    terms = [*call.args, *(named[name] for name in ("input", "other") if name in named)]
    if None in named or any(isinstance(term, ast.Starred) for term in terms):
        return []
    is_bound = len(terms) == 1 and isinstance(call.func, ast.Attribute)
    return [call.func.value, *terms] if is_bound else terms  # type: ignore[attr-defined]
