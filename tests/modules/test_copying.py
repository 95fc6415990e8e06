"""Whatever a module holds, and wherever: it is copied, or refused with the way to it."""

from __future__ import annotations

import io
import threading
from collections import OrderedDict, defaultdict, deque
from collections.abc import Callable
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any, NamedTuple

import pytest
import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode

from lightning_prune.modules.twin import twin

GRAPH = torch.ones(2, requires_grad=True) * 3


class Pair(NamedTuple):
    first: Any
    second: Any


@dataclass(frozen=True)
class Record:
    value: Any


class Slotted:
    __slots__ = ("value",)

    def __init__(self, value: Any) -> None:
        self.value = value

    def get(self) -> Any:
        return self.value


class Reduced:
    """Says itself how it is made again, so that its attributes are not looked into."""

    def __init__(self, value: Any) -> None:
        self.value = value

    def __reduce__(self) -> Any:
        return Reduced, (self.value,)


class Keeps(nn.Module):
    def __init__(self, held: Any) -> None:
        super().__init__()
        self.layer = nn.Linear(2, 2)
        self.held = held

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(x)


Find = Callable[[Any], Tensor]

HELD: dict[str, tuple[Any, Find]] = {
    "attribute": (GRAPH, lambda held: held),
    "list": ([GRAPH], lambda held: held[0]),
    "tuple": ((1, GRAPH), lambda held: held[1]),
    "dict": ({"h": GRAPH}, lambda held: held["h"]),
    "key": ({GRAPH: 1}, lambda held: next(iter(held))),
    "set": ({GRAPH}, lambda held: next(iter(held))),
    "frozenset": (frozenset([GRAPH]), lambda held: next(iter(held))),
    "deque": (deque([GRAPH], maxlen=3), lambda held: held[0]),
    "ordered dict": (OrderedDict(h=GRAPH), lambda held: held["h"]),
    "default dict": (defaultdict(list, h=[GRAPH]), lambda held: held["h"][0]),
    "namedtuple": (Pair(1, GRAPH), lambda held: held.second),
    "dataclass": (Record(GRAPH), lambda held: held.value),
    "slots": (Slotted(GRAPH), lambda held: held.value),
    "object": (SimpleNamespace(value=GRAPH), lambda held: held.value),
    "reduced": (Reduced(GRAPH), lambda held: held.value),
    "nested": ([{"h": (Record([GRAPH]),)}], lambda held: held[0]["h"][0].value[0]),
    "bound method": (Slotted(GRAPH).get, lambda held: held.__self__.value),
    "unregistered module": ([Keeps(GRAPH)], lambda held: held[0].held),
    "unregistered parameter": ([nn.Parameter(GRAPH.detach())], lambda held: held[0]),
    "view of a result": ([GRAPH[:1]], lambda held: held[0]),
}


@pytest.mark.parametrize("name", HELD)
def test_results_of_computations_are_copied_wherever_they_are(name: str) -> None:
    held, find = HELD[name]
    copied = twin(Keeps(held))
    assert type(copied.held) is type(held)
    made, original = find(copied.held), find(held)
    assert made is not original
    assert torch.equal(made, original)
    assert made.is_leaf
    assert find(twin(Keeps(held), torch.float64).held).dtype == torch.float64
    assert find(twin(copied).held) is not made


def test_ties_between_everything_that_is_held_stay() -> None:
    model = Keeps({})
    weight = model.layer.weight
    model.register_buffer("mean", torch.zeros(4))
    model.held = {"weight": weight, "row": weight.detach()[0], "half": model.mean[:2]}
    model.again = (model.held, model.mean, model.layer)
    for copied in (twin(model), twin(model, torch.float64)):
        held = copied.held
        assert held["weight"] is copied.layer.weight
        with torch.no_grad():
            copied.layer.weight[0, 0] = 7
            copied.mean[1] = 8
        assert (held["row"][0], held["half"][1]) == (7, 8)
        assert copied.again[0] is held
        assert copied.again[1] is copied.mean
        assert copied.again[2] is copied.layer
    assert model.mean.sum() == 0


def test_containers_of_the_original_are_not_written_to() -> None:
    model = Keeps([GRAPH])
    copied = twin(model)
    copied.held.append(GRAPH)
    copied.held[0].add_(1)
    assert len(model.held) == 1
    assert model.held[0].tolist() == [3, 3]


def test_a_module_that_was_built_without_numbers_is_copied_within_its_mode() -> None:
    with FakeTensorMode() as mode:
        model = Keeps([torch.zeros(2)])
        model.constant = [mode.from_tensor(torch.ones(2))]
        copied = twin(model)
    assert copied.layer.weight.fake_mode is copied.held[0].fake_mode is mode


def test_a_copy_made_in_inference_mode_can_be_trained() -> None:
    model = nn.BatchNorm1d(2)
    with torch.inference_mode():
        copied = twin(model)
    copied(torch.randn(3, 2)).sum().backward()
    assert copied.get_parameter("weight").grad is not None


def test_handles_of_hooks_are_copied_with_their_hooks() -> None:
    model = Keeps([])
    model.held = [model.layer.register_forward_hook(lambda *given: None)]
    model.held.append(nn.Linear(1, 1).register_forward_hook(lambda *given: None))  # is gone
    copied = twin(model)
    copied.held[0].remove()
    copied.held[1].remove()
    assert (len(copied.layer._forward_hooks), len(model.layer._forward_hooks)) == (0, 1)


def test_process_groups_are_shared() -> None:
    dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
    try:
        model = nn.SyncBatchNorm(2, process_group=dist.group.WORLD)
        assert twin(model).process_group is dist.group.WORLD
    finally:
        dist.destroy_process_group()


class Guarded:
    def __init__(self) -> None:
        self.lock = threading.Lock()


class Parent(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.child = Keeps(None)
        self.child.held = {"parent": [self]}  # refers back to what cannot be copied
        self.lock = threading.Lock()


def broken_model(name: str) -> nn.Module:
    if name == "parent":
        return Parent()
    held = {
        "attribute": threading.Lock(),
        "nested": {"locks": [0, Guarded()]},
        "generator": (i for i in range(3)),
        "file": [io.TextIOWrapper(io.BytesIO())],
        "bound method": Guarded().__repr__,
        "keys": {"a": 1}.keys(),
    }
    return nn.Sequential(nn.ReLU(), Keeps(held[name]))


@pytest.mark.parametrize(
    ("name", "way"),
    [
        ("attribute", "`1.held`, of type _thread.lock: TypeError: cannot pickle"),
        ("nested", r"`1.held\['locks'\]\[1\].lock`, of type _thread.lock"),
        ("generator", "`1.held`, of type builtins.generator"),
        ("file", r"`1.held\[0\]`, of type _io.TextIOWrapper"),
        ("keys", "`1.held`, of type builtins.dict_keys"),
        ("parent", "`lock`, of type _thread.lock"),
    ],
)
def test_what_cannot_be_copied_is_named_with_the_way_to_it(name: str, way: str) -> None:
    with pytest.raises(TypeError, match=f"Expected `model` to be something .* holds {way}"):
        twin(broken_model(name))


def test_what_is_nested_too_deeply_is_named() -> None:
    nested: list[Any] = []
    for _ in range(3000):
        nested = [nested]
    with pytest.raises(TypeError, match=r"holds `held\[0\]\[0\].*RecursionError"):
        twin(Keeps(nested))


def test_a_module_that_refuses_to_be_copied_is_named() -> None:
    class Once(nn.Module):
        def __deepcopy__(self, memo: Any) -> Any:
            raise NotImplementedError("only one of these")

    with pytest.raises(TypeError, match=r"whose own way of being copied fails.*only one of these"):
        twin(Once())
    with pytest.raises(TypeError, match=r"holds `0`, of type .*Once: NotImplementedError"):
        twin(nn.Sequential(Once()))


class Remade(nn.Module):
    """Its copy is a new one, whose weights are drawn before they are loaded."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(2, 2)

    def __deepcopy__(self, memo: dict[int, Any]) -> Remade:
        made = Remade()
        made.load_state_dict(self.state_dict())
        return made


def test_no_copy_draws_from_the_random_numbers_of_others() -> None:
    model, state = Remade(), torch.get_rng_state()
    assert torch.equal(twin(model).layer.weight, model.layer.weight)
    assert torch.equal(torch.get_rng_state(), state)
