"""The sizes of every value of a smaller model are known before it runs."""

import pytest
import torch
from support.nets import Net
from torch import Tensor, nn

from lightning_prune.coupling import couple
from lightning_prune.coupling.forecast import Forecast, Trace
from lightning_prune.coupling.graph import Node
from lightning_prune.units.group import Axis


def net() -> Net:
    return Net(
        lambda m, x: m.last(torch.cat([m.first(x), m.other(x)], 1).view(len(x), 3, 4).flatten(1)),
        first=nn.Linear(5, 8),
        other=nn.Linear(5, 4),
        last=nn.Linear(12, 2),
    )


X = torch.zeros(2, 5)
ALL = torch.arange(12)


def cut(kept: dict[Axis, Tensor]) -> tuple[Trace, Forecast]:
    return couple(net(), X).traces.forecasts(kept)[0]


def node(trace: Trace, name: str) -> Node:
    return next(n for n in trace.graph if n.name == f"aten::{name}")


FIRST = {Axis("first.weight", 0): torch.tensor([0, 1, 2, 3])}  # the second of three rows goes


def test_what_goes_of_a_parameter_goes_of_every_value_that_holds_it():
    trace, forecast = cut(FIRST)
    assert forecast.shape(node(trace, "linear").results[0]) == (2, 4)
    assert forecast.shape(node(trace, "cat").results[0]) == (2, 8)
    assert forecast.shape(node(trace, "view").results[0]) == (2, 2, 4)
    assert forecast.shape(node(trace, "flatten").results[0]) == (2, 8)
    assert forecast.shape(trace.graph.outputs[0]) == (2, 2)


def test_kept_tells_which_coordinates_stay():
    trace, forecast = cut(FIRST)
    joined = node(trace, "cat").results[0]
    assert forecast.kept(joined, 0) is None
    assert forecast.kept(joined, 1).tolist() == [True] * 4 + [False] * 4 + [True] * 4
    rows = node(trace, "view").results[0]
    assert forecast.kept(rows, 1).tolist() == [True, False, True]
    assert forecast.kept(rows, 2) is None


def test_where_nothing_goes_all_sizes_stay():
    trace, forecast = cut({})
    for n in trace.graph:
        assert all(forecast.shape(ref) == trace.graph[ref].shape for ref in n.results)


def test_eval_and_train_are_traced_in_one_id_space():
    traces = couple(net(), X).traces
    assert [trace.training for trace in traces.traces] == [False, True]
    forecasts = traces.forecasts(FIRST)
    assert [forecast.shape(node(t, "cat").results[0]) for t, forecast in forecasts] == [(2, 8)] * 2


@pytest.mark.parametrize(
    ("axis", "passes"),
    [(Axis("first.weight", 0), True), (Axis("other.weight", 0), False)],
)
def test_passing_tells_whose_coordinates_lie_on_a_value(axis, passes):
    traces = couple(net(), X).traces
    trace = traces.traces[0]
    assert traces.passing(trace, [node(trace, "linear").results[0]], [axis]) == [passes]
