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
    first, second = group.members
    assert first.positions is None  # each at its own place
    assert second.positions.flatten().tolist() == [3, 2, 1, 0]
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


def test_units_that_are_tied_to_what_no_weight_holds_are_frozen(labels):
    labels.tie(axis(labels, "a.weight", 0)[:1], torch.zeros(1, dtype=torch.long))
    ((group,), (frozen,)) = build_groups(labels, solve(labels))
    assert group.units == 3
    assert frozen == Frozen(Axis("a.weight", 0), 1, 4, "tied to a coordinate that no weight holds")


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


def test_a_kernel_size_writes_no_units():
    labels = Labels()
    labels.kernel(axis(labels, "a.weight", 2))
    assert build_groups(labels, solve(labels)) == ((), ())


def test_the_kernel_size_of_a_weight_is_that_of_what_it_is_computed_from():
    labels = Labels()
    computed = axis(labels, "a.weight", 2)
    labels.kernel(computed)
    labels.tie(axis(labels, "a.parametrized", 2), computed, same_side=True)
    assert build_groups(labels, solve(labels)) == ((), ())


def test_a_single_unit_is_no_group(labels):
    labels.freeze(axis(labels, "a.weight", 0)[:3], "why")
    labels.tie(axis(labels, "c.weight", 0, 3), axis(labels, "c.bias", 0, 3))
    groups, _ = build_groups(labels, solve(labels))
    assert [(group.name, group.units) for group in groups] == [("c", 3)]


def test_units_that_own_more_of_an_axis_make_another_group():
    labels = Labels()
    written, read = axis(labels, "a.weight", 0), axis(labels, "b.weight", 1, 6)
    labels.tie(written, read[:4])
    labels.tie(written[:2], read[4:])
    labels.read(read)
    groups, _ = build_groups(labels, solve(labels))
    assert [g.members[1].positions.tolist() for g in groups] == [[[0, 4], [1, 5]], [[2], [3]]]
    assert [g.members[0].positions.tolist() for g in groups] == [[[0], [1]], [[2], [3]]]


def test_groups_come_in_the_order_of_the_network_whatever_they_are_tied_to():
    labels = Labels()
    computed = labels.fresh(4)  # before any axis, and tied to the last one
    _, second, third = (axis(labels, f"{name}.weight", 0) for name in "abc")
    labels.tie(computed, third)
    labels.tie(second[2:], axis(labels, "d.weight", 0, 2))
    groups, _ = build_groups(labels, solve(labels))
    assert [group.name for group in groups] == ["a", "b", "b (2)", "c"]


def test_groups_of_one_writer_are_numbered():
    labels = Labels()
    written = axis(labels, "a.weight", 0, 6)
    for index, name in enumerate("bcd"):
        labels.tie(written[2 * index : 2 * index + 2], axis(labels, f"{name}.weight", 0, 2))
    groups, _ = build_groups(labels, solve(labels))
    assert [group.name for group in groups] == ["a", "a (2)", "a (3)"]


def test_a_group_bears_the_name_of_what_writes_it_and_not_of_a_buffer_or_reader():
    labels = Labels()
    labels.buffers.add("norm.mean")
    parts = [axis(labels, name, 0) for name in ("norm.mean", "read.weight", "scale")]
    labels.read(parts[1])
    for part in parts[:2]:
        labels.tie(part, parts[2])
    (group,), _ = build_groups(labels, solve(labels))
    assert group.name == "scale"  # of the model itself
    assert [member.side for member in group.members] == ["shape", "in", "out"]


def test_axes_that_only_read_are_not_listed_as_frozen(labels):
    labels.freeze(axis(labels, "b.weight", 1)[1:], "why")
    labels.freeze(axis(labels, "c.weight", 0), "because")
    _, frozen = build_groups(labels, solve(labels))
    assert frozen == (
        Frozen(Axis("a.weight", 0), 3, 4, "why"),
        Frozen(Axis("c.weight", 0), 4, 4, "because"),
    )
