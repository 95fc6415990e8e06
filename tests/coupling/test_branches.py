"""A branch is what is added to what it was computed from, and nothing else."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from support.nets import Net
from torch import Tensor, nn
from torchvision.models.resnet import BasicBlock, Bottleneck

from lightning_prune.coupling import couple
from lightning_prune.coupling.branches import Branch, find_branches
from lightning_prune.coupling.modes import record_modes
from lightning_prune.modules.inputs import Call, ExampleInputs, examples_of

X = torch.randn(2, 4)
SEQUENCE = torch.randn(2, 3, 4)
IMAGE = torch.randn(2, 4, 6, 6)


def linear() -> nn.Linear:
    return nn.Linear(4, 4)


def both(name: str) -> list[str]:
    return [f"{name}.weight", f"{name}.bias"]


def branches_of(model: nn.Module, *inputs: Tensor) -> tuple[Branch, ...]:
    return find_branches(record_modes(model, [ExampleInputs.of(inputs)]))


def parameters_of(model: nn.Module, *inputs: Tensor) -> dict[str, list[str]]:
    return {branch.name: list(branch.parameters) for branch in branches_of(model, *inputs)}


def perceptron(**more: nn.Module) -> dict[str, nn.Module]:
    return {"a": linear(), "b": linear(), **more}


ONE = {
    "plain": lambda m, x: x + m.b(m.a(x).relu()),
    "branch on the left": lambda m, x: m.b(m.a(x).relu()) + x,
    "method": lambda m, x: x.add(m.b(m.a(x).relu())),
    "function": lambda m, x: torch.add(x, m.b(m.a(x).relu()), alpha=1),
    "in place on what was made": lambda m, x: m.b(m.a(x).relu()).add_(x).relu_(),
    "in place on the shortcut": lambda m, x: x.exp().add_(m.b(m.a(x).relu())),
    "computed before": lambda m, x: (x := x.exp()) + m.b(m.a(x).relu()),
    "in place inside": lambda m, x: x + m.b(F.relu_(m.a(x)).mul_(2)),
    "read twice": lambda m, x: x + m.b((y := m.a(x)) * y.sigmoid()),
    "parallel to nothing": lambda m, x: (x + m.b(m.a(x)), x.exp())[0],
    "an approximate activation": lambda m, x: x + m.b((y := m.a(x)) + 0.1 * y**3),
    "cast to the same type": lambda m, x: x + m.b(m.a(x.to(x.dtype))).contiguous(),
    "of an operation without a rule": lambda m, x: x + m.b(torch.special.i0(m.a(x))),
    "with a term that is not the branch's": lambda m, x: (x + m.b(m.a(x))) + x.exp(),
}


@pytest.mark.parametrize("function", ONE.values(), ids=ONE)
def test_all_that_computes_for_the_sum_alone_is_the_branch(function):
    found = parameters_of(Net(function, **perceptron()), X)
    assert list(found.values()) == [both("a") + both("b")]


def attention_and_perceptron(m: Any, x: Tensor) -> Tensor:
    x = x + m.b(m.a(m.norm1(x)))
    return x + m.d(m.c(m.norm2(x)))


def in_parallel(m: Any, x: Tensor) -> Tensor:
    return x + m.b(m.a(m.norm1(x))) + m.d(m.c(m.norm2(x)))


def in_parallel_inside(m: Any, x: Tensor) -> Tensor:
    return x + (m.b(m.a(m.norm1(x))) + m.d(m.c(m.norm2(x))))


def norm_after(m: Any, x: Tensor) -> Tensor:
    x = m.norm1(x + m.b(m.a(x)))
    return m.norm2(x + m.d(m.c(x)))


def four() -> dict[str, nn.Module]:
    norms = {"norm1": nn.LayerNorm(4), "norm2": nn.LayerNorm(4)}
    return perceptron(c=linear(), d=linear(), **norms)


FIRST, SECOND = both("a") + both("b"), both("c") + both("d")

TWO = {
    "norm before": (attention_and_perceptron, both("norm1") + FIRST, both("norm2") + SECOND),
    "norm after": (norm_after, FIRST, SECOND),
    "in parallel": (in_parallel, both("norm1") + FIRST, both("norm2") + SECOND),
}


@pytest.mark.parametrize(("function", "first", "second"), TWO.values(), ids=TWO)
def test_every_sum_adds_a_branch_of_its_own(function, first, second):
    found = [list(b.parameters) for b in branches_of(Net(function, **four()), X)]
    assert found == [first, second]


def test_terms_that_are_summed_first_are_one_branch():
    found = [set(b.parameters) for b in branches_of(Net(in_parallel_inside, **four()), X)]
    assert found == [{*FIRST, *SECOND, *both("norm1"), *both("norm2")}]


def encoder(norm_first: bool) -> nn.Module:
    return nn.TransformerEncoderLayer(4, 2, 6, batch_first=True, norm_first=norm_first)


ATTENTION = [
    *(f"self_attn.in_proj_{kind}" for kind in ("weight", "bias")),
    *both("self_attn.out_proj"),
]


@pytest.mark.parametrize("norm_first", [False, True])
def test_a_transformers_layer_has_two(norm_first):
    found = branches_of(encoder(norm_first), SEQUENCE)
    norms = [both("norm1"), both("norm2")] if norm_first else [[], []]
    assert [set(b.parameters) for b in found] == [
        {*norms[0], *ATTENTION},
        {*norms[1], *both("linear1"), *both("linear2")},
    ]


NONE = {
    "two inputs": lambda m, x, y: m.a(x) + y,
    "two inputs, both computed": lambda m, x, y: m.a(x) + m.b(y),
    "a position": lambda m, x, y: x + m.position,
    "a position that is computed": lambda m, x, y: x + m.b(m.position).relu(),
    "towers of equal depth": lambda m, x, y: m.a(x) + m.b(x),
    "a product": lambda m, x, y: x * m.a(x),
    "a difference": lambda m, x, y: x - m.a(x),
    "a factor": lambda m, x, y: torch.add(x, m.a(x), alpha=2),
    "another shape": lambda m, x, y: x + m.a(x)[:1],
    "a shortcut of another shape": lambda m, x, y: x[:1] + m.a(x),
    "another type": lambda m, x, y: x.double() + m.a(x),
    "a number": lambda m, x, y: m.a(x) + 1,
    "itself": lambda m, x, y: (z := m.a(x)) + z,
    "no parameters": lambda m, x, y: x + x.exp(),
    "called twice": lambda m, x, y: (z := x + m.a(x)) + m.a(z),
    "seen by others": lambda m, x, y: (x + (z := m.a(x)), z),
    "seen inside by others": lambda m, x, y: (x + m.b(m.a(x)).relu(), m.a(y)),
    "not an own parameter": lambda m, x, y: x + F.linear(x, m.a.weight) + m.a(y),
}


@pytest.mark.parametrize("function", NONE.values(), ids=NONE)
def test_a_sum_of_other_things_adds_no_branch(function):
    net = Net(function, **perceptron(position=nn.Parameter(torch.randn(2, 4))))
    owned = {name for one in branches_of(net, X, X) for name in one.parameters}
    assert not owned & {*both("a"), "position"}


def pyramid(m: Any, x: Tensor) -> list[Tensor]:
    fine = m.stem(x)
    coarse = m.down(fine)
    top = m.top(coarse)
    up = F.interpolate(top, scale_factor=2.0)
    return [m.out(m.lateral(fine) + up), top]


def test_sums_of_a_pyramid_add_no_branch():
    parts = {name: nn.Conv2d(4, 4, 1) for name in ("stem", "lateral", "top", "out")}
    net = Net(pyramid, **parts, down=nn.Conv2d(4, 4, 3, 2, 1))
    assert parameters_of(net, IMAGE) == {}


def test_of_branches_around_branches_only_the_inner_ones_count():
    net = Net(
        lambda m, x: x + m.d((y := m.c(x)) + m.b(m.a(y).relu())),
        **perceptron(c=linear()),
        d=linear(),
    )
    assert list(parameters_of(net, X).values()) == [FIRST]


def shortcut(stride: int = 1) -> nn.Module:
    return nn.Sequential(nn.Conv2d(4, 8, 1, stride), nn.BatchNorm2d(8))


def test_a_shortcut_of_a_single_weight_is_no_branch():
    found = branches_of(BasicBlock(4, 8, 2, shortcut(2)), IMAGE)
    own = ["conv1.weight", *both("bn1"), "conv2.weight", *both("bn2")]
    assert [list(b.parameters) for b in found] == [own]


def test_two_sides_of_several_weights_are_no_branch():
    net = Net(lambda m, x: m.b(m.a(x)) + m.d(m.c(x)), **perceptron(c=linear(), d=linear()))
    assert parameters_of(net, X) == {}


def test_positions_that_a_weight_computes_are_no_shortcut():
    positions = torch.arange(X.numel(), dtype=X.dtype).view_as(X)
    net = Net(lambda m, x: m.c(positions) + m.b(m.a(x).relu()), **perceptron(c=linear()))
    assert parameters_of(net, X) == {}


def test_a_block_around_a_shortcut_and_its_neighbours():
    first = Bottleneck(4, 2, 1, nn.Conv2d(4, 8, 1))
    found = parameters_of(nn.Sequential(first, Bottleneck(8, 2)), IMAGE)
    assert list(found) == ["0", "1"]
    assert all(len(own) == 9 for own in found.values())
    assert not any("downsample" in name for own in found.values() for name in own)


class Moody(nn.Module):
    """Adds, in train mode, the branch to something else, or adds it twice."""

    def __init__(self, training: Callable[[Tensor, Tensor], Tensor]) -> None:
        super().__init__()
        self.a = linear()
        self.b = linear()
        self.in_training = training

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.a(x)
        y = self.b(x)
        return self.in_training(x, y) if self.training else x + y


@pytest.mark.parametrize(
    ("training", "count"),
    [(lambda x, y: x + y, 2), (lambda x, y: x * y, 1), (lambda x, y: x + y + y.exp(), 1)],
    ids=["the same", "a product", "seen by others"],
)
def test_a_branch_is_one_in_both_modes(training, count):
    found = branches_of(Moody(training), X)
    assert [b.name for b in found] == ["a", "b"][:count]
    assert all([one.graph is not b.sums[0].graph for one in b.sums] == [False, True] for b in found)


def test_without_recordings_there_are_none():
    assert find_branches([]) == ()


@dataclass(frozen=True)
class Named:
    function: Callable[..., Any]
    names: list[str]


def flat(m: Any, x: Tensor) -> Tensor:
    x = x + m.b(m.a(x))
    return x + m.d(m.c(x))


NAMES = {
    "the module": Named(lambda m, x: x + m.seq(x), ["seq"]),
    "the first of several": Named(flat, ["a", "c"]),
    "the same twice": Named(
        lambda m, x: (y := x + m.seq[0](x)) + m.seq[1](m.seq[2](y)), ["seq.0", "seq"]
    ),
    "its weights, not its norm": Named(lambda m, x: x + m.seq(m.norm1(x)), ["seq"]),
}


@pytest.mark.parametrize("case", NAMES.values(), ids=NAMES)
def test_a_branch_is_named_by_what_holds_its_weights(case):
    net = Net(case.function, **four(), seq=nn.Sequential(linear(), linear(), linear()))
    assert [b.name for b in branches_of(net, X)] == case.names


class Flat(nn.Module):
    """Two branches whose weights lie in one module."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.ParameterList(torch.randn(4, 4) for _ in range(4))

    def forward(self, x: Tensor) -> Tensor:
        x = x + F.linear(F.linear(x, self.first[0]), self.first[1])
        return x + F.linear(F.linear(x, self.first[2]), self.first[3])


def test_names_are_distinct():
    assert [b.name for b in branches_of(Flat(), X)] == ["first", "first (2)"]


class Scaled(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a = nn.Linear(4, 3)
        self.b = nn.Linear(3, 4)
        self.scale = nn.Parameter(torch.tensor(0.5))

    def forward(self, x: Tensor) -> Tensor:
        return x + self.scale * self.b(self.a(x))


def test_its_group_is_one_unit_that_owns_every_element():
    model = Scaled()
    [branch] = couple(model, X).branches
    group = branch.group({name: p.shape for name, p in model.named_parameters()})
    assert (group.name, group.units) == (branch.name, 1)
    sizes = {"a.weight": 3, "a.bias": 3, "b.weight": 4, "b.bias": 4, "scale": 1}
    assert {m.axis.tensor: m.size for m in group.members} == sizes
    assert {m.axis.tensor: m.axis.dim for m in group.members} == dict.fromkeys(sizes, 0) | {
        "scale": -1
    }
    for member in group.members:
        assert member.side == "out"
        assert member.owned_by(torch.tensor([True])).tolist() == list(range(member.size))
        assert member.owned_by(torch.tensor([False])).tolist() == []


class Parts(nn.Module):
    """`forward` runs two branches; `encode` runs the first, `pool` none, `peek` part of one.

    `validate` runs both, and returns nothing.
    """

    def __init__(self) -> None:
        super().__init__()
        for name in "abcd":
            setattr(self, name, linear())

    def forward(self, x: Tensor) -> Tensor:
        x = self.encode(x)
        return x + self.d(self.c(x).relu())

    def encode(self, x: Tensor) -> Tensor:
        return x + self.b(self.a(x).relu())

    def pool(self, x: Tensor) -> Tensor:
        return x.mean(0)

    def peek(self, x: Tensor) -> Tensor:
        return self.a(x).relu()

    def validate(self, x: Tensor) -> None:
        (self(x).argmax(1) == 0).sum()


def of_examples(*methods: str) -> list[tuple[str, int]]:
    examples = examples_of([Call(method, X) for method in methods])
    return [(b.name, len(b.sums)) for b in find_branches(record_modes(Parts(), examples))]


def test_a_branch_is_one_in_every_recording_that_runs_it():
    assert of_examples("forward") == [("a", 2), ("c", 2)]
    assert of_examples("forward", "encode") == [("a", 4), ("c", 2)]
    assert of_examples("encode", "forward") == [("a", 4), ("c", 2)]
    assert of_examples("forward", "peek") == [("c", 2)]
    assert of_examples("forward", "validate") == [("a", 4), ("c", 4)]


class Twice(nn.Module):
    """Runs a block twice; the second time its keys of the first time are read, too."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(4)
        self.keys, self.values = linear(), linear()

    def forward(self, x: Tensor) -> Tensor:
        known = torch.zeros(0, 4)
        for _ in range(2):
            normed = self.norm(x)
            known = torch.cat([known, self.keys(normed)])
            x = x + self.values(normed @ known.T @ known)
        return x


def test_calls_of_the_same_code_with_the_same_weights_are_one_branch():
    [branch] = branches_of(Twice(), X)
    assert list(branch.parameters) == [*both("norm"), *both("keys"), *both("values")]
    assert len(branch.sums) == 4


def test_recordings_that_do_not_run_it_do_not_count():
    assert of_examples("pool", "forward") == [("a", 2), ("c", 2)]


def test_what_only_training_runs_is_none():
    model = Net(lambda m, x: x + m.b(m.a(x)) if m.training else x.exp(), **perceptron())
    assert branches_of(model, X) == ()


@pytest.mark.parametrize("dim", [0, 1, None])
def test_directions_go_with_a_branch_but_are_not_zeroed(dim: int | None):
    normed = nn.utils.parametrizations.weight_norm(linear(), dim=dim)
    model = Net(lambda m, x: x + m.b(m.a(x).relu()), **perceptron(a=normed))
    [branch] = branches_of(model, X)
    group = branch.group({name: p.shape for name, p in model.named_parameters()})
    kept = {m.axis.tensor for m in group.members} - {m.axis.tensor for m in group.zeroed}
    assert len(group.members) == len(list(model.parameters()))
    assert kept == branch.directions == {"a.parametrizations.weight.original1"}
