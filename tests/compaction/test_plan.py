"""A plan is data, made of groups and marks, without a model."""

import pytest
import torch

from lightning_prune.compaction.plan import plan_removal
from lightning_prune.units.group import Axis, Group, GroupCount, Member

WRITER, READER = Axis("a.weight", 0), Axis("b.weight", 1)


def group(units: int = 4, name: str = "a", size: int | None = None, first: int = 0) -> Group:
    """Units that own one position each of the writer and two each of the reader."""
    own = torch.arange(first, first + units)
    size = size or units
    return Group(
        name,
        units,
        (
            Member(WRITER, "out", size, own[:, None]),
            Member(READER, "in", 2 * size, torch.stack([own, own + size], 1)),
        ),
    )


def dead(*marks: int) -> torch.Tensor:
    return torch.tensor(marks, dtype=torch.bool)


def kept(plan) -> dict[Axis, list[int]]:
    return {axis: positions.tolist() for axis, positions in plan.kept.items()}


def test_every_axis_keeps_the_positions_of_the_units_that_stay():
    plan = plan_removal([group()], [dead(0, 1, 0, 1)])
    assert kept(plan) == {WRITER: [0, 2], READER: [0, 2, 4, 6]}


def test_what_loses_nothing_is_not_mentioned():
    plan = plan_removal([group()], [dead(0, 0, 0, 0)])
    assert plan.kept == {}
    assert plan.groups == (GroupCount("a", 4, 0),)
    assert plan.removed == 0


def test_of_a_group_that_is_all_dead_the_first_unit_stays():
    plan = plan_removal([group()], [dead(1, 1, 1, 1)])
    assert kept(plan) == {WRITER: [0], READER: [0, 4]}
    assert plan.groups == (GroupCount("a", 4, 3),)


def test_groups_on_one_axis_are_removed_together():
    groups = [group(2, "a", size=5), group(3, "b", size=5, first=2)]
    plan = plan_removal(groups, [dead(1, 0), dead(0, 0, 1)])
    assert kept(plan) == {WRITER: [1, 2, 3], READER: [1, 2, 3, 6, 7, 8]}
    assert plan.removed == 2
    assert [count.kept for count in plan.groups] == [1, 2]


def test_positions_that_no_unit_owns_stay():
    plan = plan_removal([group(2, size=4, first=1)], [dead(1, 0)])
    assert kept(plan)[WRITER] == [0, 2, 3]


def test_the_marks_given_are_not_changed():
    marks = dead(1, 1, 1, 1)
    plan_removal([group()], [marks])
    assert marks.all()


def test_a_member_without_positions_owns_one_for_each_unit():
    plain = Group("a", 3, (Member(WRITER, "out", 3),))
    assert kept(plan_removal([plain], [dead(0, 1, 0)])) == {WRITER: [0, 2]}


def test_grouped_convolutions_lose_the_fraction_of_their_first_axis():
    plan = plan_removal([group()], [dead(0, 1, 0, 0)], frozenset({"a.weight", "b.weight"}))
    assert plan.group_fractions == {"a.weight": 3 / 4}


def test_every_group_needs_its_marks():
    with pytest.raises(ValueError, match="zip"):
        plan_removal([group()], [])
