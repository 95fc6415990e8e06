"""What a mutation may do: for each kind of node, texts to put in its place.

Every operator is a pure function of a node; that the result is still Python is checked elsewhere.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from support.mutants.sources import Scope, Source

COMPARISONS = {
    ast.Lt: ("<", ["<=", ">="]),
    ast.LtE: ("<=", ["<", ">"]),
    ast.Gt: (">", [">=", "<="]),
    ast.GtE: (">=", [">", "<"]),
    ast.Eq: ("==", ["!="]),
    ast.NotEq: ("!=", ["=="]),
    ast.Is: ("is", ["is not"]),
    ast.IsNot: ("is not", ["is"]),
    ast.In: ("in", ["not in"]),
    ast.NotIn: ("not in", ["in"]),
}
ARITHMETIC = {
    ast.Add: ("+", "-"),
    ast.Sub: ("-", "+"),
    ast.Mult: ("*", "/"),
    ast.Div: ("/", "*"),
    ast.FloorDiv: ("//", "*"),
    ast.Mod: ("%", "//"),
    ast.Pow: ("**", "*"),
    ast.BitAnd: ("&", "|"),
    ast.BitOr: ("|", "&"),
    ast.BitXor: ("^", "&"),
}
OPPOSITES = [
    ("min", "max"),
    ("amin", "amax"),
    ("argmin", "argmax"),
    ("minimum", "maximum"),
    ("any", "all"),
    ("floor", "ceil"),
    ("cummin", "cummax"),
]
SWAPPED = dict(OPPOSITES) | {b: a for a, b in OPPOSITES}
# Without these calls the value is of the same kind still.
UNWRAPPED = set("abs sorted reversed list tuple set int float bool round deepcopy copy".split())
CHAINED = set(
    "abs clone copy detach double flatten flip float sort squeeze sqrt square requires_grad_ t "
    "to".split()
)
# Nothing but a bug elsewhere, or an accelerator, shows that these are missing.
UNSEEN = {"strict", "device"}


@dataclass(frozen=True)
class Change:
    """A node, and the text to put in its place."""

    operator: str
    node: ast.expr | ast.stmt
    after: str


Operator = Callable[[Any, Source, Scope], Iterator[Change]]
OPERATORS: dict[type[ast.AST], list[Operator]] = {}


def on(*kinds: type[ast.AST]) -> Callable[[Operator], Operator]:
    """Register an operator for kinds of nodes."""

    def register(operator: Operator) -> Operator:
        for kind in kinds:
            OPERATORS.setdefault(kind, []).append(operator)
        return operator

    return register


def called_name(function: ast.expr) -> str:
    """Return the last part of what is called, or nothing if it has no name."""
    if isinstance(function, ast.Attribute):
        return function.attr
    return function.id if isinstance(function, ast.Name) else ""


@on(ast.Compare)
def comparison(node: ast.Compare, source: Source, scope: Scope) -> Iterator[Change]:
    operands = [node.left, *node.comparators]
    for index, op in enumerate(node.ops):
        before, afters = COMPARISONS[type(op)]
        for after in afters:
            boundary = after.strip("=") == before.strip("=") != ""
            text = _between(source, node, operands[index : index + 2], before, after)
            yield Change("boundary" if boundary else "comparison", node, text)


@on(ast.BoolOp)
def and_or(node: ast.BoolOp, source: Source, scope: Scope) -> Iterator[Change]:
    before, after = ("and", "or") if isinstance(node.op, ast.And) else ("or", "and")
    for index in range(len(node.values) - 1):
        pair = node.values[index : index + 2]
        yield Change("and/or", node, _between(source, node, pair, before, after))


@on(ast.UnaryOp)
def sign(node: ast.UnaryOp, source: Source, scope: Scope) -> Iterator[Change]:
    name = "not" if isinstance(node.op, ast.Not) else "sign"
    yield Change(name, node, source.segment(node.operand))


@on(ast.BinOp)
def arithmetic(node: ast.BinOp, source: Source, scope: Scope) -> Iterator[Change]:
    text_or_type = isinstance(node.left, ast.Constant) and isinstance(node.left.value, str)
    text_or_type |= scope.module and isinstance(node.op, ast.BitOr)
    if type(node.op) in ARITHMETIC and not text_or_type:
        before, after = ARITHMETIC[type(node.op)]
        pair = [node.left, node.right]
        yield Change("arithmetic", node, _between(source, node, pair, before, after))


@on(ast.AugAssign)
def in_place(node: ast.AugAssign, source: Source, scope: Scope) -> Iterator[Change]:
    if type(node.op) in ARITHMETIC:
        before, after = (f"{op}=" for op in ARITHMETIC[type(node.op)])
        pair = [node.target, node.value]
        yield Change("arithmetic", node, _between(source, node, pair, before, after))


@on(ast.Constant)
def constant(node: ast.Constant, source: Source, scope: Scope) -> Iterator[Change]:
    value = node.value
    afters: list[object] = []
    if isinstance(value, bool):
        afters = [not value]
    elif isinstance(value, int):
        afters = [value + 1, value - 1]
    elif isinstance(value, float):
        # Small numbers are tolerances.
        afters = [value * 10, value / 10] if 0 < abs(value) < 0.01 else [value + 1, value / 2]
    for after in afters:
        yield Change("constant", node, str(after))


@on(ast.Call)
def min_max(node: ast.Call, source: Source, scope: Scope) -> Iterator[Change]:
    name = called_name(node.func)
    if name in SWAPPED:
        function = source.segment(node.func)
        rest = source.segment(node)[len(function) :]
        yield Change("min/max", node, function[: -len(name)] + SWAPPED[name] + rest)


@on(ast.Call)
def unwrapped(node: ast.Call, source: Source, scope: Scope) -> Iterator[Change]:
    name = called_name(node.func)
    if name in UNWRAPPED and len(node.args) == 1 and not isinstance(node.args[0], ast.Starred):
        yield Change("unwrapped", node, _atom(node.args[0], source))
        return
    to_device = "device" in "".join(map(source.segment, node.args))
    if name in CHAINED and isinstance(node.func, ast.Attribute) and not to_device:
        yield Change("unwrapped", node, source.segment(node.func.value))


@on(ast.Call)
def keywords(node: ast.Call, source: Source, scope: Scope) -> Iterator[Change]:
    for index, keyword in enumerate(node.keywords):
        if keyword.arg is not None and keyword.arg not in UNSEEN:
            kept = node.keywords[:index] + node.keywords[index + 1 :]
            after = ast.unparse(ast.Call(node.func, node.args, kept))
            yield Change("keyword", node, after)


@on(ast.If, ast.IfExp, ast.While)
def branch(node: ast.If | ast.IfExp | ast.While, source: Source, scope: Scope) -> Iterator[Change]:
    named = isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"
    if not named and not isinstance(node.test, ast.Constant):
        yield Change("branch", node.test, "False")
        if not isinstance(node, ast.While):
            yield Change("branch", node.test, "True")


@on(ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)
def filtered(node: ast.ListComp, source: Source, scope: Scope) -> Iterator[Change]:
    for condition in (test for part in node.generators for test in part.ifs):
        yield Change("filter", condition, "True")


@on(ast.Return)
def returned(node: ast.Return, source: Source, scope: Scope) -> Iterator[Change]:
    if node.value is None or isinstance(node.value, ast.Constant):
        return
    if scope.returns_bool:
        yield Change("return", node.value, f"not ({source.segment(node.value)})")
    else:
        yield Change("return", node.value, "None")


@on(ast.Expr, ast.Assign, ast.AugAssign, ast.Delete, ast.Raise, ast.Continue, ast.Break)
def dropped(node: ast.stmt, source: Source, scope: Scope) -> Iterator[Change]:
    if _can_go(node, scope):
        yield Change("dropped", node, "pass")


def _can_go(node: ast.stmt, scope: Scope) -> bool:
    """Tell whether a name error, or nothing at all, is not all that came of dropping it."""
    if isinstance(node, ast.Expr):
        return isinstance(node.value, ast.Call)
    if isinstance(node, ast.Raise):
        error = node.exc.func if isinstance(node.exc, ast.Call) else node.exc
        return error is None or called_name(error) != "NotImplementedError"
    if isinstance(node, ast.Assign):
        names = [n.id for t in node.targets for n in ast.walk(t) if isinstance(n, ast.Name)]
        stored = any(isinstance(t, ast.Attribute | ast.Subscript) for t in node.targets)
        return stored or (bool(names) and all(scope.bound[name] > 1 for name in names))
    return True


def _between(
    source: Source, node: ast.expr | ast.stmt, pair: list[ast.expr], before: str, after: str
) -> str:
    """Return the text of a node with the sign between two of its operands replaced."""
    start, end = source.end(pair[0]), source.start(pair[1])
    pattern = re.escape(before).replace(r"\ ", r"\s+")
    gap = re.sub(pattern, after, source.text[start:end], count=1)
    return source.text[source.start(node) : start] + gap + source.text[end : source.end(node)]


def _atom(node: ast.expr, source: Source) -> str:
    text = source.segment(node)
    plain = (ast.Name, ast.Attribute, ast.Call, ast.Subscript, ast.Constant, ast.GeneratorExp)
    return text if isinstance(node, plain) else f"({text})"
