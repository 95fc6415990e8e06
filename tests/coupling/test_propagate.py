"""Labels travel through a graph, one rule per operation."""

import pytest
import torch

from lightning_prune.coupling.graph import Graph, Node, Ref, Value
from lightning_prune.coupling.labels import Labels, Plane
from lightning_prune.coupling.propagate import Propagation

aten = torch.ops.aten
F32 = torch.float32


@pytest.fixture
def p() -> Propagation:
    """A graph of one weight of 2x3, one buffer of 3, one input and one result, without nodes."""
    values = [
        Value((2, 3), F32, "parameter", "w"),
        Value((3,), F32, "buffer", "b"),
        Value((4, 3), F32, "input"),
        Value((4, 3), F32, "activation"),
    ]
    return Propagation(Graph(values, [], [Ref(2)], [Ref(3)]), Labels(), {})


WEIGHT, BUFFER, INPUT, RESULT = (Ref(i) for i in range(4))


def run(rule, *args: Ref) -> Labels:
    values = [Value((2, 3), F32, "parameter", "w"), Value((2, 3), F32, "activation")]
    graph = Graph(values, [Node(aten.relu.default, args, {}, Ref(1), "layer")], [], [])
    labels = Labels()
    Propagation(graph, labels, {"aten::relu": rule} if rule else {}).run()
    return labels


def test_a_parameter_has_one_plane_for_each_dimension(p):
    assert [tuple(plane.ids.shape) for plane in p.planes(WEIGHT)] == [(2, 1), (1, 3)]
    assert all(plane.zero for plane in p.planes(WEIGHT))


def test_a_buffer_is_never_zero(p):
    (plane,) = p.planes(BUFFER)
    assert not plane.zero
    assert p.labels.buffers == {"b"}


def test_inputs_have_no_labels(p):
    assert p.planes(INPUT) == []


def test_fusing_ties_all_along_a_dimension(p):
    plane = Plane(torch.arange(1, 7).view(2, 3), zero=True)
    fused = p.fuse(plane, {1}, "why")
    assert fused.ids.tolist() == [[1], [4]]
    assert len(p.labels.ties) == 1
    assert p.labels.freezes == []


def test_fusing_the_only_dimension_freezes(p):
    assert p.fuse(p.planes(WEIGHT)[1], {1}, "why") is None
    assert p.labels.freezes[0].reason == "why"


def test_fusing_another_dimension_changes_nothing(p):
    plane = p.planes(WEIGHT)[0]
    assert p.fuse(plane, {1}, "why") is plane


def test_a_second_label_on_one_dimension_is_frozen(p):
    p._planes[RESULT] = [
        Plane(torch.tensor([[1, 2, 3]]), True),
        Plane(torch.tensor([[4, 5, 6]]), True),
    ]
    assert p.axis_ids(RESULT, 1).tolist() == [1, 2, 3]
    assert p.labels.freezes[0].ids.tolist() == [4, 5, 6]


def test_an_operation_without_a_rule_freezes_its_inputs():
    assert "no coupling rule for this operation (aten::relu in layer)" in [
        freeze.reason for freeze in run(None, Ref(0)).freezes
    ]


def test_an_operation_that_touches_no_label_needs_no_rule():
    assert run(None).freezes == []


MISFITS = {
    "of_another_rank": torch.tensor([1, 2, 3]),
    "of_another_size": torch.tensor([[1, 2]]),
}


@pytest.mark.parametrize("ids", MISFITS.values(), ids=MISFITS)
def test_labels_that_do_not_fit_the_result_are_frozen(ids):
    labels = run(lambda p, node: [[Plane(ids, zero=True)]], Ref(0))
    assert "do not fit" in labels.freezes[0].reason
    assert labels.freezes[0].ids.tolist() == ids.flatten().tolist()


def test_labels_along_two_dimensions_must_be_a_product():
    labels = run(lambda p, node: [[Plane(torch.arange(1, 7).view(2, 3), zero=True)]], Ref(0))
    assert [grid.shape for grid in labels.grids] == [(2, 3)]


def test_prices_add_up_over_uses(p):
    p.price(WEIGHT, 5)
    p.price(WEIGHT, 7)
    p.price(INPUT, 100)
    assert p.labels.prices == {"w": 12.0}


def test_of_a_grid_what_leads_is_kept(p):
    grid = Plane(torch.arange(1, 7).view(2, 3), zero=True)
    line = Plane(torch.tensor([[7, 8, 9]]), zero=True)
    kept = p.keep_leading([grid, line], 1)
    assert [plane.ids.tolist() for plane in kept] == [[[1], [4]], [[7, 8, 9]]]
    assert p.labels.freezes == []
