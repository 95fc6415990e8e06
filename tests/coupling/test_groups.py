"""Components become groups of units, members and reasons."""

import pytest
import torch

from lightning_prune.coupling.groups import Frozen, build_groups
from lightning_prune.coupling.labels import Labels
from lightning_prune.coupling.solve import solve
from lightning_prune.units.group import Axis


@pytest.fixture
def labels() -> Labels:
    """Two layers: ``a`` writes four units, ``b`` reads them."""
    labels = Labels()
    written = labels.axis(Axis("a.weight", 0), 4)
    read = labels.axis(Axis("b.weight", 1), 4)
    labels.tie(written, read)
    labels.read(read)
    return labels


def axis(labels: Labels, tensor: str, dim: int, size: int = 4) -> torch.Tensor:
    return labels.axis(Axis(tensor, dim), size)


def test_a_group_is_named_by_its_first_writer_and_knows_its_sides(labels):
    (group,), frozen = build_groups(labels, solve(labels))
    assert (group.name, group.units, frozen) == ("a", 4, ())
    assert [(str(m.axis), m.side, m.size) for m in group.members] == [
        ("a.weight[0]", "out", 4),
        ("b.weight[1]", "in", 4),
    ]


def test_units_are_ordered_by_their_place_on_the_first_axis():
    labels = Labels()
    labels.tie(axis(labels, "a.weight", 0), axis(labels, "b.weight", 0).flip(0))
    (group,), frozen = build_groups(labels, solve(labels))
    assert [m.positions.flatten().tolist() for m in group.members] == [[0, 1, 2, 3], [3, 2, 1, 0]]
    assert frozen == ()


def test_a_unit_may_own_several_positions(labels):
    read = axis(labels, "c.weight", 1, 8)
    labels.tie(axis(labels, "a.weight", 0), read.view(2, 4))
    labels.read(read)
    (group,) = build_groups(labels, solve(labels))[0]
    assert group.members[2].positions.tolist() == [[0, 4], [1, 5], [2, 6], [3, 7]]


def test_units_on_different_axes_make_different_groups(labels):
    labels.tie(axis(labels, "a.weight", 0)[:2], axis(labels, "c.weight", 0, 2))
    groups = build_groups(labels, solve(labels))[0]
    assert [(group.name, group.units) for group in groups] == [("a", 2), ("a (2)", 2)]


def test_a_frozen_axis_is_listed_with_the_number_of_positions_and_the_reason(labels):
    labels.freeze(axis(labels, "a.weight", 0)[:3], "why")
    groups, frozen = build_groups(labels, solve(labels))
    assert groups == ()
    assert frozen == (Frozen(Axis("a.weight", 0), 3, 4, "why"),)


def test_units_that_are_all_of_an_axis_stay(labels):
    written = axis(labels, "a.weight", 0)
    labels.tie(written, written[:1])
    groups, (frozen,) = build_groups(labels, solve(labels))
    assert groups == ()
    assert frozen.reason == "all positions of an axis live and die together"


def test_what_no_parameter_writes_is_no_group():
    labels = Labels()
    labels.axis(Axis("position_ids", 0), 4)
    labels.buffers.add("position_ids")
    labels.read(axis(labels, "b.weight", 1))
    assert build_groups(labels, solve(labels)) == ((), ())


def test_buffers_are_members_that_write_nothing(labels):
    labels.buffers.add("mean")
    labels.tie(axis(labels, "a.weight", 0), axis(labels, "mean", 0))
    (group,) = build_groups(labels, solve(labels))[0]
    assert [m.buffer for m in group.members] == [False, False, True]
    assert group.writers == ("a",)


def test_units_that_read_as_a_constant_are_marked(labels):
    labels.reads_constant(axis(labels, "b.weight", 1)[1:2])
    (group,) = build_groups(labels, solve(labels))[0]
    assert group.constant.tolist() == [False, True, False, False]


def test_units_whose_reader_writes_them_too_are_marked(labels):
    labels.write(axis(labels, "b.weight", 1))
    (group,) = build_groups(labels, solve(labels))[0]
    assert group.constant.all()
    assert group.members[1].side == "in"


def test_ids_of_no_parameter_join_a_group_unseen(labels):
    labels.tie(axis(labels, "a.weight", 0), labels.fresh(4))
    late = axis(labels, "c.weight", 0)
    labels.tie(late, axis(labels, "a.weight", 0))
    (group,), frozen = build_groups(labels, solve(labels))
    assert [str(m.axis) for m in group.members] == ["a.weight[0]", "b.weight[1]", "c.weight[0]"]
    assert frozen == ()


def test_what_reads_a_computed_weight_reads_all_that_it_is_computed_from(labels):
    labels.tie(axis(labels, "b.mask", 0), axis(labels, "b.weight", 1), same_side=True)
    (group,) = build_groups(labels, solve(labels))[0]
    assert [m.side for m in group.members] == ["out", "in", "in"]


def test_a_shape_is_on_no_side_and_spreads_to_none(labels):
    direction = axis(labels, "a.direction", 0)
    labels.tie(direction, axis(labels, "a.weight", 0), same_side=True)
    labels.shape_only(direction)
    (group,) = build_groups(labels, solve(labels))[0]
    sides = {m.axis.tensor: m.side for m in group.members}
    assert sides == {"a.weight": "out", "b.weight": "in", "a.direction": "shape"}


def test_a_shape_alone_writes_nothing():
    labels = Labels()
    labels.shape_only(axis(labels, "a.direction", 0))
    assert build_groups(labels, solve(labels)) == ((), ())


def test_units_that_are_exposed_are_marked(labels):
    labels.expose(axis(labels, "a.weight", 0)[1:2])
    (group,) = build_groups(labels, solve(labels))[0]
    assert group.exposed.tolist() == [False, True, False, False]
    assert group.constant is None


def test_units_that_own_as_many_positions_on_the_same_axes_are_of_one_group():
    """Two units own one position of ``a`` and two of ``c``, two others two of ``a`` and one."""
    labels = Labels()
    first, second = axis(labels, "a.weight", 0, 6), axis(labels, "c.weight", 0, 6)
    labels.tie(first[:2], second[:4].view(2, 2))
    labels.tie(first[2:].view(2, 2), second[4:])
    groups = build_groups(labels, solve(labels))[0]
    assert [[m.positions.tolist() for m in group.members] for group in groups] == [
        [[[0], [1]], [[0, 2], [1, 3]]],
        [[[2, 4], [3, 5]], [[4], [5]]],
    ]
