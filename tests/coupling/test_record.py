"""One forward pass becomes a graph; the model stays as it was."""

import copy

import pytest
import torch
from support.nets import Net
from support.oracle import assert_removable
from support.tiny_zoo import ZOO
from torch import Tensor, nn

from lightning_prune.coupling.graph import Graph
from lightning_prune.coupling.record import record
from lightning_prune.errors import ExampleInputsError
from lightning_prune.modules.inputs import ExampleInputs


def graph_of(function, *inputs: Tensor, whole: tuple[str, ...] = (), **parts) -> Graph:
    net = Net(function, **parts)
    return record(net, ExampleInputs.of(inputs), whole.__contains__)


def names(graph: Graph) -> list[str]:
    return [node.name for node in graph]


X = torch.randn(2, 3)


def test_an_operation_with_a_rule_is_kept_whole():
    linear = nn.Linear(3, 4)
    graph = graph_of(lambda m, x: m.part(x), X, part=linear, whole=("aten::linear",))
    assert names(graph) == ["aten::linear"]


def test_an_operation_without_a_rule_is_decomposed():
    graph = graph_of(lambda m, x: m.part(x), X, part=nn.Linear(3, 4))
    assert names(graph) == ["aten::t", "aten::addmm"]


def test_what_does_not_decompose_is_recorded_as_it_is():
    assert names(graph_of(lambda m, x: torch.special.i0(x), X)) == ["aten::i0"]


def test_parameters_and_buffers_carry_their_names():
    graph = graph_of(
        lambda m, x: m.norm(x), X, norm=nn.BatchNorm1d(3).eval(), whole=("aten::batch_norm",)
    )
    named = {graph[ref].name: graph[ref].kind for ref in graph.nodes[0].inputs if graph[ref].name}
    assert named == {
        "norm.weight": "parameter",
        "norm.bias": "parameter",
        "norm.running_mean": "buffer",
        "norm.running_var": "buffer",
    }


def test_tied_parameters_carry_one_name():
    linear = nn.Linear(3, 3)
    graph = graph_of(lambda m, x: m.b(m.a(x)), X, a=linear, b=linear, whole=("aten::linear",))
    assert [graph[node.args[1]].name for node in graph] == ["a.weight", "a.weight"]


def test_the_owner_is_the_module_whose_forward_runs():
    inner = nn.Sequential(nn.ReLU(), nn.Tanh())
    graph = graph_of(
        lambda m, x: m.inner(x).exp(), X, inner=inner, whole=("aten::relu", "aten::tanh")
    )
    assert [(node.name, node.module) for node in graph] == [
        ("aten::relu", "inner.0"),
        ("aten::tanh", "inner.1"),
        ("aten::exp", ""),
    ]


def test_the_owner_is_found_again_after_an_error_that_the_model_handles():
    def forward(m, x):
        try:
            m.broken(x)
        except RuntimeError:
            return x.exp()

    graph = graph_of(forward, X, broken=nn.Linear(99, 1))
    assert graph.nodes[-1].module == ""


def test_an_operation_in_place_gives_a_new_value():
    graph = graph_of(lambda m, x: (x.exp_(), x.sin())[1], X)
    exp, sin = graph.nodes
    assert exp.name == "aten::exp"
    assert exp.results == sin.inputs
    assert exp.results != exp.inputs


def test_other_views_of_what_is_written_are_named():
    def forward(m, x):
        y = x.exp()
        view = y[:, 0]
        y.mul_(2)
        return view

    graph = graph_of(forward, X)
    write = next(node for node in graph if node.name == "aten::mul")
    assert set(graph.outputs) <= set(write.aliases)


def test_outputs_of_every_type_and_nesting_are_found():
    class Answer:
        def __init__(self, scores, chosen):
            self.scores = scores
            self.chosen = chosen

    graph = graph_of(lambda m, x: [{"a": x.exp()}, Answer(x.sin(), x.argmax(1))], X)
    assert [graph[ref].dtype for ref in graph.outputs] == [
        torch.float32,
        torch.float32,
        torch.int64,
    ]


def test_the_inputs_stay_as_they_were():
    x = torch.ones(2, 3)
    graph_of(lambda m, x: x.mul_(2), x)
    assert torch.equal(x, torch.ones(2, 3))


def test_an_error_of_the_model_names_the_shapes():
    with pytest.raises(ExampleInputsError, match=r"shape \(2, 3\) raised RuntimeError"):
        graph_of(lambda m, x: m.part(x), X, part=nn.Linear(5, 1))


def test_the_hooks_are_gone_after_an_error():
    with pytest.raises(ExampleInputsError, match="AssertionError"):
        graph_of(lambda m, x: (_ for _ in ()).throw(AssertionError("no")), X)
    hooks = torch.nn.modules.module
    assert not hooks._global_forward_hooks
    assert not hooks._global_forward_pre_hooks


def test_channels_of_an_output_that_is_not_floating_stay():
    net = Net(
        lambda m, x: {"label": m.last(m.first(x)), "active": m.first(x) > 0},
        first=nn.Linear(3, 8),
        last=nn.Linear(8, 2),
    )
    assert assert_removable(net, (X,)).groups == ()


@pytest.mark.parametrize("example", ZOO.values(), ids=ZOO)
def test_every_tiny_model_is_recorded(example):
    model = example.build().eval()
    twin = copy.deepcopy(model)
    graph = record(twin, ExampleInputs.of(example.inputs()), lambda name: False)
    assert graph.outputs
    assert all(
        torch.equal(a, b) for a, b in zip(model.parameters(), twin.parameters(), strict=True)
    )


@pytest.mark.skipif(
    torch.__version__.startswith("2.6"),
    reason="once a compiled part has run eagerly, torch 2.6 exports nothing more in that process",
)
def test_a_compiled_part_is_recorded_without_a_warning():
    part = torch.compile(nn.Linear(3, 4), backend="eager")
    graph = graph_of(lambda m, x: m.part(x), X, part=part, whole=("aten::linear",))
    assert names(graph)[-1] == "aten::linear"
