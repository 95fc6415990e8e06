"""Modules side by side among which data choose are experts; others in lists are not."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import lightning_prune as lp
from lightning_prune.coupling.expert_lists import ExpertList

X = torch.randn(40, 4, generator=torch.Generator().manual_seed(0))


class Net(nn.Module):
    def __init__(self, run: Callable[[Net, Tensor], Tensor]) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.run = run
        self.gate = nn.Linear(4, 3)
        self.experts = nn.ModuleList(
            nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 4)) for _ in range(3)
        )
        self.last = nn.Linear(4, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.run(self, x))


def by_index(net: Any, x: Tensor) -> Tensor:
    weights, picks = net.gate(x).softmax(-1).topk(2, -1)
    y = torch.zeros_like(x)
    for number, expert in enumerate(net.experts):
        rows, which = torch.where(picks == number)
        if len(rows):
            y.index_add_(0, rows, expert(x[rows]) * weights[rows, which, None])
    return y


def by_reshaped_index(net: Any, x: Tensor) -> Tensor:
    pick = F.one_hot(net.gate(x).argmax(-1), 3)
    y = torch.zeros_like(x)
    for number, expert in enumerate(net.experts):
        (rows,) = torch.where(pick[:, number])
        y.index_add_(0, rows, expert(x[None, rows].reshape(-1, 4)))
    return y


def by_mask(net: Any, x: Tensor) -> Tensor:
    y = torch.zeros_like(x)
    for number, expert in enumerate(net.experts):
        hit = net.gate(x).argmax(-1) == number
        y[hit] = expert(x[hit])
    return y


def weighted(net: Any, x: Tensor) -> Tensor:
    gate = net.gate(x).softmax(-1)
    return sum(gate[:, e, None] * expert(x) for e, expert in enumerate(net.experts))


def stacked(net: Any, x: Tensor) -> Tensor:
    gate = net.gate(x).softmax(-1).unsqueeze(-1)
    return sum(expert(x).unsqueeze(1) * gate[:, e, None] for e, expert in enumerate(net.experts))[
        :, 0
    ]


@pytest.mark.parametrize("run", [by_index, by_reshaped_index, by_mask, weighted, stacked])
def test_modules_among_which_data_choose_are_experts(run):
    found = lp.couple(Net(run), X)
    (one,) = found.expert_lists
    assert one.name == "experts"
    assert list(one.experts) == ["experts.0", "experts.1", "experts.2"]
    names = ("0.weight", "0.bias", "2.weight", "2.bias")
    assert one.experts["experts.1"] == tuple(f"experts.1.{name}" for name in names)
    assert "1 mixtures, of which Expert() removes experts: experts" in str(found)


def test_experts_are_units_that_own_their_parameters():
    shapes = {f"list.{e}.{n}": s for e in (0, 1) for n, s in (("w", (3, 2)), ("scale", ()))}
    names = {f"list.{e}": (f"list.{e}.w", f"list.{e}.scale") for e in (0, 1)}
    group = ExpertList("list", names).group({n: torch.Size(s) for n, s in shapes.items()})
    assert (group.name, group.units) == ("list", 2)
    assert [(str(m.axis), m.size, m.owner) for m in group.members] == [
        ("list.0.w[0]", 3, (0, 2)),
        ("list.0.scale[flat]", 1, (0, 2)),
        ("list.1.w[0]", 3, (1, 2)),
        ("list.1.scale[flat]", 1, (1, 2)),
    ]


def in_order(net: Any, x: Tensor) -> Tensor:
    for expert in net.experts:
        x = x + expert(x) * net.gate(x)[:, :1]
    return x


def side_by_side(net: Any, x: Tensor) -> Tensor:
    return sum(expert(x) for expert in net.experts)


def read_from_outside(net: Any, x: Tensor) -> Tensor:
    return weighted(net, x) + F.linear(x, net.experts[0][0].weight)[:, :4]


def by_constants(net: Any, x: Tensor) -> Tensor:
    return sum(expert(x) * (e + 1) for e, expert in enumerate(net.experts))


@pytest.mark.parametrize("run", [in_order, side_by_side, read_from_outside, by_constants])
def test_other_lists_are_none(run):
    assert lp.couple(Net(run), X).expert_lists == ()


def test_what_a_model_returns_is_no_expert():
    class Heads(Net):
        def forward(self, x: Tensor) -> Tensor:
            chosen = x[self.gate(x).argmax(-1) == 0]
            return [expert(chosen) for expert in self.experts]

    assert lp.couple(Heads(weighted), X).expert_lists == ()


def test_modules_of_several_forms_are_none():
    net = Net(weighted)
    net.experts[1] = nn.Sequential(nn.Linear(4, 5), nn.ReLU(), nn.Linear(5, 4))
    assert lp.couple(net, X).expert_lists == ()
