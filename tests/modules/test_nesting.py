import weakref
from collections import OrderedDict, UserDict
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_sequence

from lightning_prune.modules.nesting import map_tensors, tensors_in

X, Y = torch.zeros(2, 3), torch.ones(4)


class Batch(NamedTuple):
    graph: Any
    targets: Tensor


@dataclass(slots=True)
class Slotted:
    nodes: Tensor
    size: int = 2


@dataclass(frozen=True)
class Frozen:
    x: Tensor
    names: tuple[str, ...] = ("a",)


class Named(dict):  # type: ignore[type-arg]
    pass


class Several(list):  # type: ignore[type-arg]
    pass


class Store(UserDict):  # type: ignore[type-arg]
    """As graph libraries keep their tensors: it knows weakly whose they are."""

    owner: Any = None


class Graph:
    def __init__(self) -> None:
        self.store = Store(x=X, edge_index=Y)
        self.store.owner = weakref.ref(self)
        self.itself = self

    def __getattr__(self, name: str) -> Tensor:
        if name in vars(self).get("store", ()):
            return self.store[name]
        raise AttributeError(name)


NESTINGS = {
    "dict": {"a": [X], "b": Y},
    "named tuple": Batch(Slotted(X), Y),
    "slots": Slotted({"x": X, "y": Y}),  # type: ignore[arg-type]
    "frozen": [Frozen(X), Frozen(Y)],
    "user's mapping": UserDict(x=X, y=Y),
    "dict of another class": Named(x=X, y=Y),
    "list of another class": Several([X, Y]),
    "ordered": OrderedDict(x=X, y=Y),
    "graph": Graph(),
}


@pytest.mark.parametrize("nested", NESTINGS.values(), ids=NESTINGS)
def test_tensors_are_found_and_replaced_in_the_same_order(nested: Any) -> None:
    assert [t is o for t, o in zip(tensors_in(nested), (X, Y), strict=True)] == [True, True]
    following = iter(range(1, 3))
    changed = map_tensors(nested, lambda t: torch.full_like(t, next(following)))
    assert type(changed) is type(nested)
    assert [(t.shape, t.unique().item()) for t in tensors_in(changed)] == [
        (X.shape, 1),
        (Y.shape, 2),
    ]
    assert [t is o for t, o in zip(tensors_in(nested), (X, Y), strict=True)] == [True, True]


def test_an_object_that_holds_itself_is_copied_once() -> None:
    graph = Graph()
    changed = map_tensors([graph, graph], lambda t: t + 1)
    assert changed[0] is changed[1] is changed[0].itself is not graph
    assert torch.equal(changed[0].x, X + 1)
    assert len(tensors_in([graph, graph])) == 2


def test_packed_sequences_are_rebuilt() -> None:
    packed = pack_sequence([torch.zeros(3, 2), torch.zeros(1, 2)])
    changed = map_tensors(packed, torch.clone)
    assert type(changed) is type(packed)
    assert nn.LSTM(2, 4)(changed)[0].data.shape == (4, 4)


@pytest.mark.parametrize("kept", ["text", 3, Frozen, nn.Linear(2, 2), object(), Frozen(None)])  # type: ignore[arg-type]
def test_what_holds_no_tensor_stays(kept: Any) -> None:
    assert map_tensors([kept], torch.clone)[0] is kept
    assert tensors_in(kept) == []


class Holder:
    def __init__(self) -> None:
        self.held = X

    def get(self) -> Tensor:
        return self.held


FUNCTIONS: dict[str, Any] = {
    "a closure": (lambda tensor: lambda: tensor)(X),
    "a default": lambda y, tensor=X: tensor,
    "a partial": partial(torch.add, X),
    "a bound method": Holder().get,
    "a set": {X},
    "a view of a dict": {"a": X}.values(),
    "pairs of a dict": {"a": X}.items(),
}


@pytest.mark.parametrize("function", FUNCTIONS.values(), ids=FUNCTIONS)
def test_functions_are_looked_into_if_asked(function):
    assert [id(t) for t in tensors_in([function], functions=True)] == [id(X)]


def test_modules_behind_bound_methods_are_not_looked_into():
    assert tensors_in(nn.Linear(2, 2).forward, functions=True) == []
