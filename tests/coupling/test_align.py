"""Values that meet element by element share the fate of their coordinates."""

import torch

from lightning_prune.coupling.align import Operand, align, join
from lightning_prune.coupling.graph import Graph
from lightning_prune.coupling.labels import Labels, Plane
from lightning_prune.coupling.propagate import Propagation


def propagation() -> Propagation:
    return Propagation(Graph(), Labels(), {})


def operand(shape: tuple[int, ...], *planes: tuple[int, int, bool]) -> Operand:
    """A value with, for each dimension named, ids from a first one, and whether it is zero."""
    rank = len(shape)
    return Operand(
        shape,
        [
            Plane(
                torch.arange(first, first + shape[dim]).view(
                    [-1 if d == dim else 1 for d in range(rank)]
                ),
                zero,
            )
            for dim, first, zero in planes
        ],
    )


def test_labels_on_one_dimension_are_tied():
    p = propagation()
    (plane,) = align(p, [operand((2, 3), (1, 1, True)), operand((2, 3), (1, 11, True))], all)
    assert plane.ids.flatten().tolist() == [1, 2, 3]
    assert p.labels.ties[0].second.tolist() == [11, 12, 13]


def test_operands_are_broadcast_from_the_right():
    p = propagation()
    (plane,) = align(p, [operand((2, 3, 4), (1, 1, True)), operand((3, 1), (0, 11, True))], all)
    assert plane.ids.shape == (1, 3, 1)
    assert p.labels.ties[0].second.tolist() == [11, 12, 13]


def test_a_label_survives_an_operand_of_size_one():
    (plane,) = align(propagation(), [operand((2, 3), (1, 1, True)), operand((2, 1))], any)
    assert plane.ids.flatten().tolist() == [1, 2, 3]


def test_a_label_that_meets_an_unlabelled_size_is_frozen():
    p = propagation()
    assert align(p, [operand((2, 3), (1, 1, True)), operand((2, 3))], any) == []
    assert p.labels.freezes[0].reason == "meets a value that cannot shrink"


def test_labels_on_different_dimensions_both_survive_where_sizes_are_one():
    planes = align(
        propagation(), [operand((2, 1), (0, 1, True)), operand((1, 3), (1, 11, True))], any
    )
    assert [plane.varying for plane in planes] == [{0}, {1}]


def test_zero_is_asked_for_each_operand():
    asked = []

    def is_zero(flags: list[bool]) -> bool:
        asked.append(flags)
        return False

    align(propagation(), [operand((3,), (0, 1, True)), operand((3,), (0, 11, False))], is_zero)
    assert asked == [[True, False]]


def test_a_grid_that_meets_a_line_keeps_the_line_only():
    p = propagation()
    grid = Operand((2, 3), [Plane(torch.arange(1, 7).view(2, 3), zero=True)])
    (plane,) = align(p, [grid, operand((2, 1), (0, 11, True))], all)
    assert plane.ids.tolist() == [[1], [4]]
    tied = {
        tuple(sorted(pair))
        for tie in p.labels.ties
        for pair in zip(tie.first.tolist(), tie.second.tolist(), strict=True)
    }
    assert tied == {(i, 11) for i in (1, 2, 3)} | {(i, 12) for i in (4, 5, 6)}


def test_a_line_on_what_trails_in_a_grid_stays_and_the_grid_keeps_what_leads():
    """Like a vector that scales the features of all heads."""
    p = propagation()
    grid = Operand((2, 3), [Plane(torch.arange(1, 7).view(2, 3), zero=True)])
    for operands in ([grid, operand((3,), (0, 11, True))], [operand((3,), (0, 21, True)), grid]):
        (plane,) = align(p, operands, any)
        assert plane.ids.tolist() == [[1], [4]]
        assert plane.zero
    assert [freeze.ids.tolist() for freeze in p.labels.freezes] == [[11, 12, 13], [21, 22, 23]]
    assert "shared by all along a leading dimension" in p.labels.freezes[0].reason
    assert p.labels.ties[0].second.tolist() == [1, 1, 4, 4]


def test_what_is_uniform_follows_the_other_along_any_dimension():
    p = propagation()
    grid = Plane(torch.arange(11, 17).view(2, 3), zero=False, uniform=True)
    (plane,) = align(p, [operand((2, 3), (1, 1, True)), Operand((2, 3), [grid])], any)
    assert plane.ids.tolist() == [[1, 2, 3]]
    assert p.labels.freezes == []


def test_of_two_labels_of_one_operand_on_one_dimension_the_second_is_frozen():
    p = propagation()
    (plane,) = align(p, [operand((3,), (0, 1, True), (0, 11, True))], any)
    assert plane.ids.tolist() == [1, 2, 3]
    assert p.labels.freezes[0].ids.tolist() == [11, 12, 13]


def test_joined_labels_know_which_operands_are_zero():
    operands = [operand((3,), (0, 1, True)), operand((3,), (0, 11, False)), operand(())]
    (one,) = join(propagation(), operands, "why", Labels().tie)
    assert one.zero == {0: True, 1: False}


def test_labels_are_tied_as_asked():
    tied = []
    p = propagation()
    operands = [operand((3,), (0, 1, True)), operand((3,), (0, 11, True))]
    join(p, operands, "why", lambda a, b: tied.append((a.tolist(), b.tolist())))
    assert tied == [([1, 2, 3], [11, 12, 13])]
    assert p.labels.ties == []
