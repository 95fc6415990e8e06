"""What optimizers keep is cut with the parameters."""

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from lightning_prune.compaction import compact
from lightning_prune.compaction.optimizer_states import cut_optimizer_state
from lightning_prune.compaction.plan import Cut, Plan
from lightning_prune.units.group import Axis

X = torch.randn(5, 3, 6, 6, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
DEAD = [1, 4]
ALIVE = [0, 2, 3, 5, 6, 7]


def make_net() -> nn.Sequential:
    """The second and fifth of eight channels are zero."""
    net = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Flatten())
    net.append(nn.Linear(8 * 16, 2)).double()
    enforce(net)
    return net


def enforce(net: nn.Sequential) -> None:
    with torch.no_grad():
        for tensor in (*net[0].parameters(), *net[1].parameters()):
            tensor[DEAD] = 0


def train(net: nn.Sequential, optimizer: Optimizer, steps: int = 3) -> None:
    for _ in range(steps):
        optimizer.zero_grad()
        net(X).square().mean().backward()
        optimizer.step()


OPTIMIZERS: dict[str, Callable[[Any], Optimizer]] = {
    "momentum": lambda p: torch.optim.SGD(p, lr=0.01, momentum=0.9, nesterov=True),
    "Adam": lambda p: torch.optim.Adam(p, lr=0.01, amsgrad=True),
    "AdamW": lambda p: torch.optim.AdamW(p, lr=0.01),
    "NAdam": lambda p: torch.optim.NAdam(p, lr=0.01),
    "RAdam": lambda p: torch.optim.RAdam(p, lr=0.01),
    "Adamax": lambda p: torch.optim.Adamax(p, lr=0.01),
    "Adagrad": lambda p: torch.optim.Adagrad(p, lr=0.01),
    "Adadelta": lambda p: torch.optim.Adadelta(p, lr=0.01),
    "ASGD": lambda p: torch.optim.ASGD(p, lr=0.01),
    "RMSprop": lambda p: torch.optim.RMSprop(p, lr=0.01, momentum=0.9, centered=True),
}


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_the_compact_net_trains_on_as_the_masked_one(name: str) -> None:
    small = make_net()
    optimizer = OPTIMIZERS[name](small.parameters())
    train(small, optimizer)
    enforce(small)
    masked = copy.deepcopy(small)
    full = OPTIMIZERS[name](masked.parameters())
    full.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    report = compact(small, X, latency=False)
    assert report.removed == len(DEAD)
    assert cut_optimizer_state(optimizer, small, report.plan) == []
    for _ in range(3):
        train(small, optimizer, steps=1)
        train(masked, full, steps=1)
        enforce(masked)
    for mine, theirs in zip(small[:2].parameters(), masked[:2].parameters(), strict=True):
        torch.testing.assert_close(mine, theirs[ALIVE])
    head = masked[4].weight.unflatten(1, (8, 16))[:, ALIVE].flatten(1)
    torch.testing.assert_close(small[4].weight, head)


def shrunk(optimizer: Callable[[Any], Optimizer], *shape: int) -> tuple[nn.Module, Optimizer]:
    """A parameter that lost everything but its first row, after one step of an optimizer."""
    module = nn.Module()
    module.weight = nn.Parameter(torch.randn(shape))
    made = optimizer([module.weight])
    module.weight.grad = torch.randn(shape)
    made.step()
    module.weight.grad = None
    module.weight.data = module.weight.data[:1]
    return module, made


def first_row_of(size: int) -> Plan:
    return Plan({Axis("weight", 0): Cut((0,), size)})


def test_factored_states_are_cut_along_the_dimensions_that_they_have() -> None:
    module, optimizer = shrunk(lambda p: torch.optim.Adafactor(p, lr=0.1), 4, 6)
    before = copy.deepcopy(optimizer.state[module.weight])
    assert cut_optimizer_state(optimizer, module, first_row_of(4)) == []
    after = optimizer.state[module.weight]
    assert torch.equal(after["row_var"], before["row_var"][:1])  # [4, 1]
    assert torch.equal(after["col_var"], before["col_var"])  # [1, 6]
    assert after["step"] == 1


def kept(value: Any, *shape: int) -> tuple[Any, list[str]]:
    """What becomes of one value of a state, and what is said to be dropped."""
    module, optimizer = shrunk(lambda p: torch.optim.SGD(p, lr=0.1), *shape)
    optimizer.state[module.weight] = {"value": value}
    dropped = cut_optimizer_state(optimizer, module, first_row_of(shape[0]))
    return optimizer.state.get(module.weight, {}).get("value"), dropped


@pytest.mark.parametrize("value", [3, 0.5, None, True, torch.tensor(3.0), torch.ones(1)], ids=str)
def test_single_numbers_stay(value: Any) -> None:
    assert kept(value, 4, 6) == (value, [])


@pytest.mark.parametrize(
    ("shape", "full", "expected"),
    [
        ((4,), (4, 6), (1,)),  # without its columns
        ((6,), (4, 6), (6,)),  # without its rows
        ((4, 1, 1), (4, 6, 3), (1, 1, 1)),
        ((1, 6, 3), (4, 6, 3), (1, 6, 3)),
        ((4, 6), (4, 6, 3), (1, 6)),
    ],
    ids=str,
)
def test_states_of_some_dimensions(shape: Any, full: Any, expected: Any) -> None:
    value, dropped = kept(torch.arange(float(torch.Size(shape).numel())).view(shape), *full)
    assert value.shape == expected
    assert value.flatten()[0] == 0
    assert dropped == []


UNKNOWN = {
    "a square without one dimension": torch.ones(4),
    "of some other shape": torch.ones(7),
    "quantized": torch.ones(4, 4, dtype=torch.uint8),
    "in a list": [torch.ones(4, 4)],
}


@pytest.mark.parametrize("value", UNKNOWN.values(), ids=UNKNOWN)
def test_what_cannot_be_told_is_dropped(value: Any) -> None:
    assert kept(value, 4, 4) == (None, ["weight"])


def test_what_is_not_cut_keeps_whatever_it_has() -> None:
    module, optimizer = shrunk(lambda p: torch.optim.SGD(p, lr=0.1), 4, 4)
    other, state = nn.Parameter(torch.ones(2)), {"blocks": [torch.ones(3)]}
    optimizer.state[other] = state
    assert cut_optimizer_state(optimizer, module, first_row_of(4)) == []
    assert optimizer.state[other] is state


def test_the_one_history_of_all_parameters_is_dropped_as_a_whole() -> None:
    net = make_net()
    optimizer = torch.optim.LBFGS(net.parameters(), lr=0.01)

    def loss() -> Tensor:
        optimizer.zero_grad()
        value = net(X).square().mean()
        value.backward()
        return value

    optimizer.step(loss)
    enforce(net)
    report = compact(net, X, latency=False)
    assert cut_optimizer_state(optimizer, net, report.plan) == ["0.weight"]
    optimizer.step(loss)
    assert net[0].weight.isfinite().all()


def test_memory_formats_follow_the_parameters() -> None:
    net = make_net().to(memory_format=torch.channels_last)
    optimizer = torch.optim.Adam(net.parameters(), lr=0.01)
    train(net, optimizer)
    enforce(net)
    report = compact(net, X, latency=False)
    assert cut_optimizer_state(optimizer, net, report.plan) == []
    assert optimizer.state[net[0].weight]["exp_avg"].stride() == net[0].weight.stride()
