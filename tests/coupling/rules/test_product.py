"""Products in the notation of an Einstein sum."""

import torch

from lightning_prune.coupling.align import Operand
from lightning_prune.coupling.graph import Graph, Ref, Value
from lightning_prune.coupling.labels import Labels, Plane
from lightning_prune.coupling.propagate import Propagation
from lightning_prune.coupling.rules.product import Factor, factor, matrix_product, product, read

F32 = torch.float32


def propagation(*values: Value) -> Propagation:
    return Propagation(Graph(list(values)), Labels(), {})


def line(first: int, rank: int, dim: int, size: int, zero: bool = True) -> Plane:
    ids = torch.arange(first, first + size)
    return Plane(ids.view([size if d == dim else 1 for d in range(rank)]), zero)


def test_a_letter_that_stays_is_carried_and_zero_where_one_factor_is():
    p = propagation()
    left = Factor(Operand((2, 3), [line(1, 2, 0, 2, zero=False)]), "bi")
    right = Factor(Operand((2, 3), [line(11, 2, 0, 2, zero=True)]), "bi")
    (plane,) = product(p, [left, right], "b")
    assert (plane.ids.tolist(), plane.zero) == ([1, 2], True)
    assert [(tie.first.tolist(), tie.second.tolist()) for tie in p.labels.ties] == [
        ([1, 2], [11, 12])
    ]


def test_the_result_has_its_dimensions_in_the_order_of_its_letters():
    p = propagation()
    left = Factor(Operand((2, 4), [line(1, 2, 0, 2)]), "ni")
    right = Factor(Operand((4, 3), [line(11, 2, 1, 3)]), "io")
    planes = product(p, [left, right], "on")
    assert [tuple(plane.ids.shape) for plane in planes] == [(1, 2), (3, 1)]


def test_a_weight_reads_what_is_summed_over_and_writes_what_stays():
    p = propagation(Value((4, 5), F32, "parameter", "w"), Value((2, 4), F32, "input"))
    x = Factor(Operand((2, 4), [line(101, 2, 1, 4)]), "ni")
    (plane,) = product(p, [x, factor(p, Ref(0), "io")], "no")
    assert plane.ids.tolist() == [[5, 6, 7, 8, 9]]
    assert p.labels.marked("read").tolist() == [1, 2, 3, 4]
    assert p.labels.marked("written").tolist() == [5, 6, 7, 8, 9]
    assert p.labels.marked("exposed").tolist() == []
    assert p.labels.prices == {"w": 2.0}


def test_without_a_weight_nothing_but_the_product_reads():
    p = propagation()
    operands = [Operand((4,), [line(first, 1, 0, 4)]) for first in (1, 11)]
    assert matrix_product(p, *operands) == []
    assert p.labels.marked("exposed").tolist() == [1, 2, 3, 4]


def test_of_heads_and_features_that_are_summed_over_the_heads_are_left():
    p = propagation()
    grid = Plane(torch.arange(1, 7).view(2, 1, 3), zero=True)
    other = Plane(torch.arange(11, 17).view(2, 1, 3).mT, zero=True)
    (plane,) = matrix_product(p, Operand((2, 5, 3), [grid]), Operand((2, 3, 7), [other]))
    assert plane.ids.flatten().tolist() == [1, 4]
    assert p.labels.freezes == []


def test_ranks_of_a_matrix_product_are_aligned_from_the_right():
    p = propagation()
    left = Operand((9, 2, 5, 3), [line(1, 4, 1, 2)])
    right = Operand((2, 3, 4), [line(11, 3, 0, 2), line(21, 3, 2, 4)])
    planes = matrix_product(p, left, right)
    assert [tuple(plane.ids.shape) for plane in planes] == [(1, 2, 1, 1), (1, 1, 1, 4)]


def test_a_weight_that_reads_an_unlabelled_dimension_is_frozen():
    p = propagation()
    assert read(p, [], 1, Plane(torch.tensor([1, 2]), zero=True)) == []
    assert "reads a dimension that cannot shrink" in p.labels.freezes[0].reason


def test_a_dimension_that_a_fixed_matrix_reads_is_frozen():
    p = propagation()
    other = line(11, 2, 0, 3)
    assert read(p, [line(1, 2, 1, 2), other], 1, None) == [other]
    assert p.labels.freezes[0].ids.tolist() == [1, 2]
