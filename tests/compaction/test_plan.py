"""A plan is data, made of groups and marks, without a model."""

import pytest
import torch

from lightning_prune.compaction.plan import (
    Attribute,
    Cut,
    Plan,
    SizeChange,
    plan_emptying,
    plan_removal,
)
from lightning_prune.compaction.rewriting import Edit
from lightning_prune.coupling.graph import Position
from lightning_prune.runtime.corrections import Pin, Resize, SizeFactor
from lightning_prune.runtime.swaps import SizeByTensors, WidenNorm
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
    return {axis: list(cut.kept) for axis, cut in plan.axes.items()}


def test_every_axis_keeps_the_positions_of_the_units_that_stay():
    plan = plan_removal([group()], [dead(0, 1, 0, 1)])
    assert kept(plan) == {WRITER: [0, 2], READER: [0, 2, 4, 6]}


def test_what_loses_nothing_is_not_mentioned():
    plan = plan_removal([group()], [dead(0, 0, 0, 0)])
    assert plan.axes == {}
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


def test_every_group_needs_its_marks():
    with pytest.raises(ValueError, match="zip"):
        plan_removal([group()], [])


def edit(*factors: SizeFactor) -> Edit:
    return Edit("forward", (Position(2, 2, 8, 20),), Resize(factors), "")


WIDTH = Attribute("block", "width")
FIRST = Plan(
    {WRITER: Cut((0, 2, 3), 4)},
    {WIDTH: SizeChange(4, 3)},
    {"norm": WidenNorm(4)},
    {"block": (edit(SizeFactor(0, 3, 4)),)},
    ("scale",),
    groups=(GroupCount("a", 4, 1),),
)
SECOND = Plan(
    {WRITER: Cut((1, 2), 3), READER: Cut((0,), 2)},
    {WIDTH: SizeChange(3, 2)},
    {"attention": SizeByTensors()},
    {"block": (edit(SizeFactor(0, 2, 3)),)},
    ("shift",),
    groups=(GroupCount("a", 3, 1),),
)


def test_a_plan_and_a_later_one_are_one_of_the_model_in_full_size():
    both = FIRST.then(SECOND)
    assert both.axes == {WRITER: Cut((2, 3), 4), READER: Cut((0,), 2)}
    assert both.attributes == {WIDTH: SizeChange(4, 2)}
    assert both.swaps == {"norm": WidenNorm(4), "attention": SizeByTensors()}
    assert both.edits == {"block": (edit(SizeFactor(0, 1, 2)),)}
    assert both.frozen == ("scale", "shift")
    assert both.removed == 2


def test_a_plan_without_anything_changes_no_other():
    assert FIRST.then(Plan()) == FIRST == Plan().then(FIRST)


def test_names_below_a_module():
    below = FIRST.below("net")
    assert below.axes == {Axis("net.a.weight", 0): Cut((0, 2, 3), 4)}
    assert list(below.attributes) == [Attribute("net.block", "width")]
    assert (list(below.swaps), list(below.edits)) == (["net.norm"], ["net.block"])
    assert below.frozen == ("net.scale",)
    assert Plan(swaps={"": WidenNorm(4)}).below("net.norm").swaps == {"net.norm": WidenNorm(4)}
    assert Plan({Axis("weight", 0): Cut((0,), 2)}).below("").axes == {
        Axis("weight", 0): Cut((0,), 2)
    }


def test_a_plan_prints_what_becomes_of_everything():
    text = str(FIRST.then(Plan(edits={"": (Edit("forward", (), Pin(2, 1), ""),)})))
    for part in (
        "a.weight[0]",
        "3 of 4",
        "block.width",
        "3 instead of 4",
        "WidenNorm(full_width=4)",
        "block.forward",
        "line 3: Resize",
        "as a whole: Pin(numerator=2, denominator=1)",
        "asks for no gradient",
    ):
        assert part in text


def test_emptied_tensors_lose_their_first_axis_and_single_numbers_are_frozen():
    shapes = {"a": torch.Size([3, 2]), "b": torch.Size([]), "c": torch.Size([5])}
    plan = plan_emptying(shapes, ["a", "b"])
    assert plan == Plan({Axis("a", 0): Cut((), 3)}, frozen=("b",))
    assert plan.emptied == ("a",)


def test_positions_are_tensors_for_those_who_index_with_them():
    assert torch.equal(FIRST.kept[WRITER], torch.tensor([0, 2, 3]))
    assert SECOND.then(Plan({READER: Cut((), 1)})).kept[READER].dtype == torch.long
