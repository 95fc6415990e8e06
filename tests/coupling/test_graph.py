"""The recorded graph is data."""

import torch

from lightning_prune.coupling.graph import Graph, Node, Ref, Value, refs_in

aten = torch.ops.aten


def test_references_are_found_in_order_in_any_nesting():
    assert refs_in(([Ref(3), 1.0], {"a": Ref(1)}, None)) == [Ref(3), Ref(1)]


def node(op, *args, **kwargs) -> Node:
    return Node(op, args, kwargs, [Ref(9)], "layer")


def test_an_argument_is_found_by_position():
    assert node(aten.mean.dim, Ref(0), [1], True).argument("keepdim") is True


def test_an_argument_is_found_by_keyword():
    assert node(aten.add.Tensor, Ref(0), Ref(1), alpha=3).argument("alpha") == 3


def test_an_argument_not_given_has_the_default_of_the_schema():
    assert node(aten.mean.dim, Ref(0), [1]).argument("keepdim") is False


def test_an_argument_that_the_schema_does_not_know_has_the_default_asked_for():
    assert node(aten.relu.default, Ref(0)).argument("groups", 1) == 1


def test_a_node_prints_its_operation_and_its_module():
    assert str(node(aten.relu.default, Ref(0))) == "aten::relu in layer"
    assert str(Node(aten.relu.default, (), {}, (), "")) == "aten::relu in the root module"


def test_a_graph_is_indexed_by_reference_and_iterated_by_node():
    value = Value((2,), torch.float32, "input")
    relu = node(aten.relu.default, Ref(0))
    graph = Graph([value], [relu])
    assert graph[Ref(0)] is value
    assert list(graph) == [relu]


def test_results_that_are_dropped_are_known_and_what_leads_to_them():
    aten = torch.ops.aten
    refs = [Ref(index) for index in range(6)]
    nodes = [
        Node(aten.relu.default, (refs[0],), {}, refs[1], ""),
        Node(aten.exp.default, (refs[1],), {}, refs[2], ""),
        Node(aten.mean.default, (refs[2],), {}, refs[3], ""),
        Node(aten.mul_.Tensor, (refs[0], refs[1]), {}, refs[4], ""),
        Node(aten._local_scalar_dense.default, (refs[1],), {}, 1.0, ""),
        Node(aten.neg.default, (refs[1],), {}, refs[5], ""),
    ]
    values = [Value((2,), torch.float32, "activation") for _ in refs]
    assert Graph(values, nodes, [refs[0]], [refs[5]]).discarded() == {1, 2}


def test_recordings_of_the_same_are_the_same_but_for_what_they_take():
    def graph(dim: float) -> Graph:
        made = Graph([Value((2,), torch.float32, "input")] * 2, [], [Ref(0)], [Ref(1)])
        made.nodes.append(Node(torch.ops.aten.relu.default, (Ref(0), dim), {}, Ref(1), ""))
        return made

    assert graph(1).is_same(graph(1))
    assert not graph(1).is_same(graph(2))
    assert not graph(1).is_same(graph(1.0))


def test_what_data_decide_the_size_of_is_used_for_python_may_ask_for_it():
    refs = [Ref(index) for index in range(4)]
    nodes = [
        Node(aten.relu.default, (refs[0],), {}, refs[1], ""),
        Node(aten.nonzero.default, (refs[1],), {}, refs[2], ""),
        Node(aten.exp.default, (refs[0],), {}, refs[3], ""),
    ]
    values = [Value((2,), torch.float32, "activation") for _ in refs]
    assert Graph(values, nodes, [refs[0]], [refs[0]]).discarded() == {2}
