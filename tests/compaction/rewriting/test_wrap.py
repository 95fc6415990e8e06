"""A copy of a function differs from it in nothing but the corrected expressions."""

from __future__ import annotations

import ast
import functools
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from lightning_prune.compaction.rewriting.source import Source, method_of, position_of
from lightning_prune.compaction.rewriting.wrap import Changer
from lightning_prune.coupling.graph import Position
from lightning_prune.errors import RewriteError
from lightning_prune.runtime.corrections import (
    Correction,
    CutBounds,
    Pin,
    Recut,
    Resize,
    SizeFactor,
)

WIDTH = 8
CORRECTION = Resize((SizeFactor(1, 1, 2),))


def wrapping(function: Any) -> Any:
    @functools.wraps(function)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        return function(*args, **kwargs)

    wrapper.mark = "mine"
    return wrapper


class Partly:
    """A decorator that is not made of functions."""

    def __init__(self, function: Any) -> None:
        functools.update_wrapper(self, function)

    def __call__(self, *args: Any) -> Any:
        return self.__wrapped__(*args)


class Net(nn.Module):
    def plain(self, x: Tensor, *, width: int = WIDTH) -> Tensor:
        """Fold."""
        return x.reshape(2, width)

    @wrapping
    def decorated(self, x: Tensor) -> Tensor:
        return x.reshape(2, 8)

    @property
    def of_a_property(self) -> Tensor:
        return torch.zeros(8).reshape(2, 8)

    @staticmethod
    def static(x: Tensor) -> Tensor:
        return x.reshape(2, 8)

    @Partly
    def by_a_class(self, x: Tensor) -> Tensor:
        return x.reshape(2, 8)

    def private(self, x: Tensor) -> Tensor:
        return x.reshape(2, self.__eight())

    def __eight(self) -> int:
        return 8

    def written(self, x: Tensor) -> Tensor:
        x[:, 0:8] = 1
        return x

    def adding(self, x: Tensor) -> Tensor:
        x += x.shape[0]
        return x > 2 * x.shape[0]


def place(source: Source, text: str) -> Position:
    """Return where an expression stands in the source of a function."""
    node = next(
        node
        for node in ast.walk(source.tree)
        if isinstance(node, (ast.expr, ast.stmt)) and ast.unparse(node) == text
    )
    position = position_of(node)
    lines = source.first_line
    return position._replace(line=position.line - lines, end_line=position.end_line - lines)


def copied(name: str, text: str, correction: Correction = CORRECTION) -> Any:
    source = method_of(Net, name)
    changer = Changer(source)
    changer.correct(place(source, text), correction)
    return changer.copy()


X = torch.zeros(8)


def test_the_call_is_corrected_and_all_else_is_the_functions():
    made = copied("plain", "x.reshape(2, width)")
    assert made(Net(), X).shape == (2, 4)
    for name in ("__name__", "__qualname__", "__doc__", "__kwdefaults__", "__annotations__"):
        assert getattr(made, name) == getattr(Net.plain, name)
    assert made.__globals__ is Net.plain.__globals__
    assert Net().plain(torch.zeros(16)).shape == (2, 8)


def test_its_positions_are_those_of_the_source():
    made, original = copied("plain", "x.reshape(2, width)"), Net.plain
    lines = {line for _, _, line in made.__code__.co_lines() if line}
    assert lines <= {line for _, _, line in original.__code__.co_lines() if line}
    assert made.__code__.co_filename.startswith(f"<copy of {__file__} ")


def test_decorators_stay_and_do_not_run_again():
    made = copied("decorated", "x.reshape(2, 8)")
    assert made(Net(), X).shape == (2, 4)
    assert made.mark == "mine"
    assert made.__wrapped__ is not Net.decorated.__wrapped__
    assert Net().decorated(torch.zeros(16)).shape == (2, 8)


def test_a_property_stays_one():
    made = copied("of_a_property", "torch.zeros(8).reshape(2, 8)")
    assert isinstance(made, property)
    assert made.fget(Net()).shape == (2, 4)


def test_a_static_method_stays_one():
    made = copied("static", "x.reshape(2, 8)")
    assert isinstance(made, staticmethod)
    assert made.__func__(X).shape == (2, 4)


def test_private_names_are_those_of_the_class():
    assert copied("private", "x.reshape(2, self.__eight())")(Net(), X).shape == (2, 4)


def test_a_decorator_that_is_no_function_is_refused():
    source = method_of(Net, "by_a_class")
    changer = Changer(source)
    changer.correct(place(source, "x.reshape(2, 8)"), CORRECTION)
    with pytest.raises(RewriteError, match=r"decorators of Net.by_a_class cannot be repeated"):
        changer.copy()


def test_an_index_that_is_written_to():
    made = copied("written", "x[:, 0:8]", Recut((CutBounds(1, 2, 1, 2),)))
    assert made(Net(), torch.zeros(1, 3)).tolist() == [[0, 1, 0]]


def test_numbers_of_operators():
    made = copied("adding", "x += x.shape[0]", Pin(3, 1))
    assert made(Net(), torch.zeros(2)).tolist() == [True, True]  # 0 + 2 * 3 > 2 * 2
    made = copied("adding", "x > 2 * x.shape[0]", Pin(1, 4))
    assert made(Net(), torch.zeros(2)).tolist() == [True, True]  # 0 + 2 > 2 * 2 / 4
    assert Net().adding(torch.zeros(2)).tolist() == [False, False]


def test_a_correction_of_another_expression_is_refused():
    with pytest.raises(RewriteError, match=r"Resize does not fit x \+= x.shape\[0\]"):
        copied("adding", "x += x.shape[0]")


def test_a_call_is_led_to_another_function():
    source = method_of(Net, "private")
    changer = Changer(source)
    changer.reroute(place(source, "self.__eight()"), lambda: 4)
    assert changer.copy()(Net(), X).shape == (2, 4)
    with pytest.raises(RewriteError, match="x is no call"):
        Changer(source).reroute(place(source, "x"), lambda: 4)


def closing() -> tuple[Callable[[Tensor], Tensor], Callable[[], int]]:
    calls = 0

    def counts(x: Tensor) -> Tensor:
        nonlocal calls
        calls += 1
        return x.reshape(2, 8)

    return counts, lambda: calls


def test_variables_of_enclosing_functions_are_shared():
    counts, calls = closing()
    source = Source(counts, counts)
    changer = Changer(source)
    changer.correct(place(source, "x.reshape(2, 8)"), CORRECTION)
    made = changer.copy()
    made(X)
    counts(torch.zeros(16))
    assert calls() == 2


def test_a_lambda_is_refused():
    function = lambda x: x.reshape(2, 8)  # noqa: E731
    source = Source(function, function)
    changer = Changer(source)
    changer.correct(place(source, "x.reshape(2, 8)"), CORRECTION)
    with pytest.raises(RewriteError, match="not defined by a statement of its own"):
        changer.copy()
