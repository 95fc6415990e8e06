"""Functions and weak references of a copied model, as `copy_model` leaves them."""

from __future__ import annotations

import functools
import threading
import weakref
from collections import deque
from collections.abc import Callable
from types import MethodType
from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor, nn

from lightning_prune.modules.twin import twin


class Holder(nn.Module):
    """Runs what it holds."""

    def __init__(self, held: Any) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(2))
        self.held = held

    def forward(self, x: Tensor) -> Tensor:
        return x * self.weight


class Step(NamedTuple):
    run: Callable[[], Any]


class Slotted:
    __slots__ = ("run",)

    def __init__(self, run: Any) -> None:
        self.run = run


def counting() -> Any:
    """Return a function that counts its calls in a dict of its own."""
    calls = {"n": 0}

    def count() -> int:
        calls["n"] += 1
        return calls["n"]

    return count


@pytest.mark.parametrize(
    ("held", "run"),
    [
        (counting(), lambda held: held()),
        ([counting()], lambda held: held[0]()),
        (deque([counting()]), lambda held: held[0]()),
        ({"f": counting()}, lambda held: held["f"]()),
        ((1, (counting(),)), lambda held: held[1][0]()),
        ({counting()}, lambda held: next(iter(held))()),
        (Step(counting()), lambda held: held.run()),
        (Slotted(counting()), lambda held: held.run()),
        (functools.partial(counting()), lambda held: held()),
        (functools.wraps(len)(counting()), lambda held: held()),
        ([functools.partial(max, key=counting())], lambda held: held[0].keywords["key"]()),
    ],
    ids="plain list deque dict tuple set namedtuple slots partial wrapped keyword".split(),
)
def test_functions_of_a_copy_use_copies(held: Any, run: Callable[[Any], int]) -> None:
    model = Holder(held)
    copied = twin(model)
    assert [run(copied.held), run(copied.held), run(model.held)] == [1, 2, 1]


def test_a_hook_that_knows_the_model_works_on_the_copy() -> None:
    model = Holder([])
    seen: dict[str, Tensor] = {}

    def hook(module: nn.Module, args: Any, output: Tensor) -> None:
        model.held.append(output)
        seen["last"] = output

    model.register_forward_hook(hook)
    copied = twin(model)
    copied(torch.ones(2))
    assert (len(model.held), len(copied.held), seen) == (0, 1, {})


def test_a_forward_that_was_replaced_runs_the_copy() -> None:
    model = nn.Sequential(nn.BatchNorm1d(2))
    inner = model.forward

    def forward(x: Tensor) -> Tensor:
        return inner(x) + 1

    model.forward = forward  # type: ignore[method-assign]
    model.double = MethodType(lambda self, x: inner(x), model)  # type: ignore[assignment]
    copied = twin(model)
    copied(torch.randn(3, 2))
    copied.double(torch.randn(3, 2))
    assert model[0].num_batches_tracked == 0
    assert copied[0].num_batches_tracked == 2


def test_defaults_and_variables_that_functions_share_are_copied_once() -> None:
    def pair() -> Any:
        n = 0

        def add(log: list[int] = []) -> None:  # noqa: B006 what is tested
            nonlocal n
            n += 1
            log.append(n)

        return [add, lambda: (n, add.__defaults__)]

    model = Holder(pair())
    copied = twin(model)
    copied.held[0]()
    assert copied.held[1]() == (1, ([1],))
    assert model.held[1]() == (0, ([],))


def test_tensors_that_functions_use_are_converted() -> None:
    scale = torch.ones(2)
    model = Holder([lambda x: x @ scale])
    assert twin(model, torch.float64).held[0](torch.ones(2).double()) == 2


def test_a_function_that_holds_itself_ends() -> None:
    def again() -> Any:
        return again

    again.calls = []  # type: ignore[attr-defined]
    copied = twin(Holder(again))
    assert copied.held() is copied.held is not again
    assert copied.held.calls is not again.calls  # type: ignore[attr-defined]


def test_what_a_function_uses_is_shared_if_it_cannot_be_copied() -> None:
    lock, calls = threading.Lock(), [0]
    outside: list[Any] = [calls, lock]

    def locked() -> Any:
        return outside

    copied = twin(Holder([locked, lambda: calls]))
    assert copied.held[0]() is outside
    assert copied.held[1]() is not calls


def test_functions_without_state_stay_the_same() -> None:
    def double(x: float) -> float:
        return 2 * x

    def quadruple(x: float) -> float:
        return double(double(x))

    held = [torch.nn.functional.max_pool2d, quadruple, torch.relu, len]
    assert twin(Holder(held)).held == held


class Child(nn.Module):
    def __init__(self, parent: nn.Module) -> None:
        super().__init__()
        self.parent = weakref.ref(parent)
        self.proxies = (weakref.proxy(parent),)
        self.method = weakref.WeakMethod(parent.train)
        self.keyed = weakref.WeakKeyDictionary({parent: 1})

    def forward(self, x: Tensor) -> Tensor:
        return x


def test_weak_references_into_the_model_refer_to_the_copy() -> None:
    model = nn.Sequential(nn.Linear(1, 1))
    model.append(Child(model))
    copied = twin(model)
    assert copied[1].parent() is copied
    assert copied[1].proxies[0].append.__self__ is copied
    assert copied[1].method().__self__ is copied


def test_weak_references_to_anything_else_stay() -> None:
    outside = nn.Linear(1, 1)
    child = Child(outside)
    gone = Child(nn.Linear(1, 1))
    assert twin(child).parent() is outside
    assert twin(gone).parent() is None
    assert twin(child).method().__self__ is outside
    assert twin(gone).method() is None
