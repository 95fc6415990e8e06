"""A value is zero if zeros in the weights make it so, whatever the inputs are."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from support.nets import Net
from torch import Tensor, nn

from lightning_prune.compaction.branches.zeros import zero_values
from lightning_prune.coupling.graph import Graph
from lightning_prune.coupling.record import record
from lightning_prune.coupling.rules import RULES
from lightning_prune.modules.inputs import ExampleInputs

X = torch.randn(2, 4)
Function = Callable[..., Any]


def tensors_of(net: nn.Module) -> dict[str, Tensor]:
    return {n: t.detach() for n, t in (*net.named_parameters(), *net.named_buffers())}


def net_of(function: Function) -> Net:
    """Return a net with parts that are zero, that are not, and that are so by half."""
    parts = {
        "zero": nn.Parameter(torch.zeros(4)),
        "ones": nn.Parameter(torch.ones(4)),
        "linear": nn.Linear(4, 4),
        "biased": nn.Linear(4, 4),
        "full": nn.Linear(4, 4),
        "conv": nn.Conv1d(1, 4, 1),
        "batch_norm": nn.BatchNorm1d(4).eval(),
        "shifting": nn.BatchNorm1d(4).eval(),
        "layer_norm": nn.LayerNorm(4),
        "words": nn.Embedding(3, 4),
        "deep": nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 4)),
        "attention": nn.MultiheadAttention(4, 2, batch_first=True),
        "gru": nn.GRU(4, 4),
        "lstm": nn.LSTM(4, 4),
    }
    net = Net(function, **parts)
    with torch.no_grad():
        for name in (
            *("linear", "conv", "batch_norm", "layer_norm", "words", "attention.out_proj"),
            *("gru", "lstm"),
        ):
            for parameter in net.get_submodule(name).parameters():
                parameter.zero_()
        net.biased.weight.zero_()
        net.shifting.weight.zero_()
        net.shifting.bias.fill_(1)
        net.deep[2].weight.zero_()
        net.deep[2].bias.zero_()
    return net


def recorded(net: nn.Module, *inputs: Tensor) -> Graph:
    return record(net, ExampleInputs.of(inputs), RULES.__contains__)


def is_zero(function: Function, *inputs: Tensor) -> bool:
    net = net_of(function)
    graph = recorded(net, *(inputs or (X,)))
    zeros = zero_values(graph, range(len(graph.nodes)), tensors_of(net))
    assert len(graph.outputs) == 1
    return graph.outputs[0] in zeros


def written(m: Any, x: Tensor) -> Tensor:
    y = m.linear(x).clone()
    y[:, 0] = 1
    return y


def written_through_a_view(m: Any, x: Tensor) -> Tensor:
    y = m.linear(x)
    y.view(-1).add_(1)
    return y


def zeros_written_through_a_view(m: Any, x: Tensor) -> Tensor:
    y = m.linear(x)
    y.mul_(2)
    return y


def filled(m: Any, x: Tensor) -> Tensor:
    return m.linear(x).fill_(0.5)


def queries(x: Tensor) -> Tensor:
    return x[:, None, None]


ZERO: dict[str, Function] = {
    "linear": lambda m, x: m.linear(x),
    "addmm": lambda m, x: torch.addmm(m.zero, x.T, x @ m.linear.weight),
    "conv": lambda m, x: m.conv(x[:, None]),
    "batch norm": lambda m, x: m.batch_norm(x),
    "layer norm": lambda m, x: m.layer_norm(x),
    "embedding": lambda m, x: m.words(x.argmax(1) % 3),
    "behind a rectifier": lambda m, x: m.deep(x),
    "attention": lambda m, x: m.attention(q := queries(x)[:, 0], q, q)[0],
    "values of zero": lambda m, x: F.scaled_dot_product_attention(
        q := queries(x), q, queries(m.linear(x))
    ),
    "relu": lambda m, x: m.linear(x).relu(),
    "gelu": lambda m, x: F.gelu(m.linear(x)),
    "silu": lambda m, x: F.silu(m.linear(x)),
    "tanh": lambda m, x: m.linear(x).tanh(),
    "relu in place": lambda m, x: F.relu_(m.linear(x)),
    "views": lambda m, x: m.linear(x).view(2, 2, 2).transpose(0, 1).reshape(4, 2)[1:],
    "split": lambda m, x: m.linear(x).chunk(2, 1)[1],
    "sum": lambda m, x: m.linear(x).sum(1),
    "times anything": lambda m, x: m.linear(x) * x.exp(),
    "times a parameter": lambda m, x: x * m.zero,
    "over a number": lambda m, x: m.linear(x) / 2.0,
    "over anything": lambda m, x: m.linear(x) / x.exp(),
    "softmax of other things": lambda m, x: x.softmax(-1) @ m.linear.weight,
    "filled with zero": lambda m, x: m.linear(x).masked_fill(x > 0, 0.0),
    "zero by a mask": lambda m, x: torch.where(x > 0, m.linear(x), m.zero),
    "dropout": lambda m, x: F.dropout(m.linear(x), 0.5, training=True),
    "dropout in eval": lambda m, x: F.dropout(m.linear(x), 0.5, training=False),
    "with what is zero, too": lambda m, x: torch.cat([m.linear(x), m.words(x.argmax(1) % 3)]),
    "plus what is zero, too": lambda m, x: m.linear(x) + m.zero,
    "written in place": zeros_written_through_a_view,
    "a mean of few": lambda m, x: m.linear(x)[:, :2].mean(1, keepdim=True).expand(2, 3),
    "depth by chance": lambda m, x: m.linear(x) * torch.empty(2, 1).bernoulli_(0.5),
    "a cast": lambda m, x: m.linear(x).to(torch.bfloat16),
    "recurrent from a state of zeros": lambda m, x: m.gru(x)[0] + m.lstm(x)[0],
    "plus zeros": lambda m, x: m.linear(x) + x.new_zeros(2, 4) + torch.zeros_like(x),
    "made of nothing": lambda m, x: torch.zeros(2, 4),
    "complex": lambda m, x: torch.fft.fft(m.linear(x)),
}


@pytest.mark.parametrize("function", ZERO.values(), ids=ZERO)
def test_what_is_made_of_zeros_is_zero(function):
    assert is_zero(function)


NOT_ZERO: dict[str, Function] = {
    "another linear": lambda m, x: m.full(x),
    "recurrent from another state": lambda m, x: m.gru(x, x[:1])[0],
    "zeros that are written": lambda m, x: m.linear(x) + x.new_zeros(2, 4).add_(1),
    "a bias": lambda m, x: m.biased(x),
    "a shift": lambda m, x: m.shifting(x),
    "softmax": lambda m, x: m.linear(x).softmax(-1),
    "sigmoid": lambda m, x: m.linear(x).sigmoid(),
    "exp": lambda m, x: m.linear(x).exp(),
    "cos": lambda m, x: m.linear(x).cos(),
    "plus a number": lambda m, x: m.linear(x) + 1,
    "plus anything": lambda m, x: m.linear(x) + x,
    "minus anything": lambda m, x: m.linear(x) - x,
    "maximum": lambda m, x: torch.maximum(m.linear(x), x),
    "minimum": lambda m, x: torch.minimum(m.linear(x), x),
    "next to anything": lambda m, x: torch.cat([m.linear(x), x]),
    "queries of zero": lambda m, x: F.scaled_dot_product_attention(
        queries(m.linear(x)), q := queries(x), q
    ),
    "filled with a number": lambda m, x: m.linear(x).masked_fill(x > 0, 0.5),
    "something by a mask": lambda m, x: torch.where(x > 0, x, m.zero),
    "something by another mask": lambda m, x: torch.where(x > 0, m.zero, x),
    "whole numbers": lambda m, x: m.linear(x) + x.argsort(1),
    "written to": written,
    "written to through a view": written_through_a_view,
    "filled": filled,
    "nothing divided by nothing": lambda m, x: m.linear(x) / m.zero,
    "compared": lambda m, x: m.linear(x) >= 0,
    "a parameter": lambda m, x: x * m.ones,
    "an input": lambda m, x: x,
}


@pytest.mark.parametrize("function", NOT_ZERO.values(), ids=NOT_ZERO)
def test_what_other_numbers_go_into_is_not(function):
    assert not is_zero(function)


def test_a_value_that_only_happens_to_be_zero_does_not_count():
    net = Net(lambda m, x: m.last(m.first(x).relu()), first=nn.Linear(4, 4), last=nn.Linear(4, 4))
    with torch.no_grad():
        net.first.weight.zero_()
        net.first.bias.fill_(-1e6)
        net.last.bias.zero_()
        assert not net(X).any()
    graph = recorded(net, X)
    zeros = zero_values(graph, range(len(graph.nodes)), tensors_of(net))
    assert {graph[ref].name for ref in zeros} == {"first.weight", "last.bias"}


def test_only_the_nodes_that_are_asked_for_are_run():
    net = net_of(lambda m, x: m.linear(x).relu())
    graph = recorded(net, X)
    assert [node.name for node in graph] == ["aten::linear", "aten::relu"]
    places = {(): False, (0,): False, (1,): False, (1, 0): True}
    found = {some: graph.outputs[0] in zero_values(graph, some, tensors_of(net)) for some in places}
    assert found == places


def test_zeros_of_other_sizes_than_the_parameters_say_are_not_guessed():
    net = net_of(lambda m, x: m.linear(x))
    graph = recorded(net, X)
    misfit = tensors_of(net) | {"linear.weight": torch.zeros(3, 7)}
    assert graph.outputs[0] not in zero_values(graph, [0], misfit)


def test_neither_the_weights_nor_the_random_numbers_change():
    net = net_of(lambda m, x: x * m.ones.mul_(m.zero))
    graph = recorded(net, X)
    with torch.no_grad():
        net.ones.fill_(1)
    before = {name: t.clone() for name, t in tensors_of(net).items()}
    state = torch.get_rng_state()
    assert graph.outputs[0] in zero_values(graph, range(len(graph.nodes)), tensors_of(net))
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(t, before[name]) for name, t in tensors_of(net).items())


@pytest.mark.skipif(not hasattr(F, "grouped_mm"), reason="torch has it since 2.10")
@pytest.mark.parametrize("zero", [True, False])
def test_products_of_groups_are_zero_where_all_weights_are(zero):
    net = Net(
        lambda m, x: F.grouped_mm(x, m.experts, offs=(x[0, :2] * 0 + 2).cumsum(0).int()),
        experts=nn.Parameter(torch.full((2, 4, 4), 0.0 if zero else 1.0)),
    )
    graph = recorded(net, torch.randn(4, 4))
    zeros = zero_values(graph, range(len(graph.nodes)), tensors_of(net))
    assert (graph.outputs[0] in zeros) == zero
