"""Functions and expressions are found in the user's source."""

from __future__ import annotations

import ast
import functools
from typing import Any

import pytest
from support import helping
from torch import Tensor, nn

from lightning_prune.compaction.rewriting.source import (
    Source,
    called_by,
    cell_contents,
    find,
    is_super,
    method_of,
    own_method_called,
    position_of,
    value_of,
)
from lightning_prune.coupling.graph import Position
from lightning_prune.coupling.sites import file_of_copy
from lightning_prune.errors import RewriteError


def wrapping(function: Any) -> Any:
    @functools.wraps(function)
    def wrapper(*args: Any) -> Any:
        return function(*args)

    return wrapper


def outside(x: Tensor) -> Tensor:
    return x


class Base(nn.Module):
    def method(self, x: Tensor) -> Tensor:
        return outside(x)


class Derived(Base):
    size = 8

    @wrapping
    def decorated(self, x: Tensor) -> Tensor:
        return x.view(8)

    @staticmethod
    def static(x: Tensor) -> Tensor:
        return x

    def method(self, x: Tensor) -> Any:
        local = outside
        a = super().method(x)
        b = self.static(x)
        c = helping.folded(x)
        d = local(x)
        e = self.method(x)
        f = Derived.static(x)
        g = len(x.shape)
        return a, b, c, d, e, f, g


def calls(source: Source) -> dict[str, ast.Call]:
    """Return the calls of the method above by the variables that take their results."""
    statements = [node for node in ast.walk(source.tree) if isinstance(node, ast.Assign)]
    found = {ast.unparse(s.targets[0]): s.value for s in statements}
    return {name: value for name, value in found.items() if isinstance(value, ast.Call)}


def test_a_method_is_found_below_its_decorators():
    source = method_of(Derived, "decorated")
    assert source.function is Derived.decorated.__wrapped__
    assert source.decorated is vars(Derived)["decorated"]
    assert source.text.startswith("    @wrapping\n")
    assert source.tree.name == "decorated"
    assert source.tree.lineno == source.first_line + 1


@pytest.mark.parametrize("name", ["gone", "size", "__init__subclass__"])
def test_what_is_no_method_is_refused(name):
    with pytest.raises(RewriteError, match=f"Derived.{name} has no source"):
        method_of(Derived, name)


def test_code_that_was_executed_from_a_string_has_no_source():
    scope: dict[str, Any] = {}
    exec("def made(x): return x", scope)
    with pytest.raises(RewriteError, match="no source of made"):
        assert Source(scope["made"], scope["made"]).text


def test_an_expression_is_found_by_its_position():
    source = method_of(Derived, "decorated")
    line = "        return x.view(8)"
    start = line.index("x.view")
    node = source.find(Position(2, 2, start, len(line)))
    assert ast.unparse(node) == "x.view(8)"
    with pytest.raises(RewriteError, match="not found"):
        source.find(Position(0, 0, 0, 3))


def test_of_a_call_over_several_lines_the_end_is_enough():
    tree = ast.parse("x = (a\n  .view(8)\n  .relu())")
    whole = next(node for node in ast.walk(tree) if isinstance(node, ast.Call))
    place = position_of(whole)
    assert find(tree, place) is whole
    assert find(tree, place._replace(line=3, column=3)) is whole


def test_what_is_called_is_found():
    source = method_of(Derived, "method")
    found = {}
    for name, call in calls(source).items():
        try:
            found[name] = called_by(source, call, Derived).function
        except RewriteError as error:
            found[name] = str(error)
    assert found["a"] is Base.method
    assert found["b"] is found["f"] is Derived.static
    assert found["c"] is helping.folded
    assert {found[name] for name in "deg"} == {"what Derived.method calls has no source"}


def test_something_that_is_no_call_is_refused():
    with pytest.raises(RewriteError, match="without naming it"):
        called_by(method_of(Base, "method"), ast.parse("x + 1").body[0], Base)


def test_values_of_names():
    level = 3

    def inner() -> int:
        return level + len(__name__)

    def value(text: str) -> Any:
        return value_of(inner, ast.parse(text, mode="eval").body)

    assert value("level") == 3
    assert value("helping.folded") is helping.folded
    assert value("len") is len
    assert value("nothing") is None
    assert value("helping.nothing.more") is None
    assert value("x + 1") is None


def test_a_local_variable_hides_what_is_outside():
    def shadowing(outside: Any) -> Any:
        return outside

    assert value_of(shadowing, ast.parse("outside", mode="eval").body) is None


def test_an_empty_variable_holds_nothing():
    def empty() -> Any:
        return gone  # noqa: F821 it is there, but empty

    gone: Any = 1
    del gone
    (cell,) = empty.__closure__
    assert cell_contents(cell) is None


def test_super_is_told_from_other_calls():
    def expression(text: str) -> ast.AST:
        return ast.parse(text, mode="eval").body

    assert is_super(expression("super()"))
    assert not is_super(expression("super(A, self)"))
    assert not is_super(expression("other()"))


def test_a_copy_is_known_as_what_it_is_a_copy_of():
    source = method_of(Base, "method")
    code = source.function.__code__
    assert source.is_what_ran(code)
    assert source.is_what_ran(code.replace(co_filename=file_of_copy(code, "0")))
    assert not source.is_what_ran(Derived.method.__code__)


class Calls(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(2, 2)

    def own(self, x):
        return x

    @staticmethod
    def without(x):
        return x

    def forward(self, x):
        return [self.own(x), self.without(x), self.layer(x), x.own(x), self.missing(x), x + x]


def test_own_methods_are_those_that_a_method_calls_of_its_module() -> None:
    source = method_of(Calls, "forward")
    (listed,) = (node for node in ast.walk(source.tree) if isinstance(node, ast.List))
    found = [own_method_called(source, node, Calls) for node in listed.elts]
    assert found == ["own", None, None, None, None, None]
    hidden = (("own", helping.folded),)
    assert own_method_called(source, listed.elts[0], Calls, hidden) is None
