import pytest
import torch

from lightning_prune.units.group import Axis, Group, Member
from lightning_prune.units.scores import comparable_scores, unit_rows, unit_scores


def member(tensor, dim, size, side="out", positions=None, buffer=False):
    positions = None if positions is None else torch.tensor(positions)
    return Member(Axis(tensor, dim), side, size, positions, buffer)


def flat(name, n):
    return Group(name, n, (member(name, -1, n),))


# conv.weight [3, 2, 1, 1] and conv.bias [3] write, fc.weight [4, 6] reads two columns a channel.
CHANNELS = Group(
    "conv",
    3,
    (
        member("conv.weight", 0, 3),
        member("conv.bias", 0, 3),
        member("bn.running_mean", 0, 3, buffer=True),
        member("fc.weight", 1, 6, "in", [[0, 1], [2, 3], [4, 5]]),
    ),
)
SHAPES = {
    "conv.weight": torch.Size([3, 2, 1, 1]),
    "conv.bias": torch.Size([3]),
    "fc.weight": torch.Size([4, 6]),
}
SIDES = {
    "both": ["conv.weight", "conv.bias", "fc.weight"],
    "out": ["conv.weight", "conv.bias"],
    "in": ["fc.weight"],
}


def owned(name, unit):
    """The elements of a tensor that a unit of CHANNELS owns, by a slow and separate rule."""
    index = torch.zeros(SHAPES[name], dtype=torch.bool)
    if name == "fc.weight":
        index[:, 2 * unit : 2 * unit + 2] = True
    else:
        index[unit] = True
    return index


def test_unit_scores_sum_over_everything_a_unit_owns():
    scores = {name: torch.rand(shape) for name, shape in SHAPES.items()}
    expected = [sum(scores[n][owned(n, u)].sum().item() for n in SHAPES) for u in range(3)]
    assert unit_scores(CHANNELS, scores).tolist() == pytest.approx(expected)


def test_unit_scores_skip_tensors_without_scores():
    scores = {"conv.bias": torch.tensor([1.0, 2.0, 3.0])}
    assert unit_scores(CHANNELS, scores).tolist() == [1.0, 2.0, 3.0]
    assert unit_scores(CHANNELS, {}).tolist() == [0.0, 0.0, 0.0]


def test_scores_of_single_weights_are_their_own():
    scores = torch.rand(3, 2)
    assert torch.equal(unit_scores(flat("w", 6), {"w": scores}), scores.flatten())


@pytest.mark.parametrize("sides", SIDES)
@pytest.mark.parametrize(
    ("reduce", "slow"),
    [
        ("sum", lambda x: sum(x)),
        ("mean", lambda x: sum(x) / len(x)),
        ("max", lambda x: max(x)),
        ("l2", lambda x: sum(v * v for v in x) ** 0.5),
    ],
)
def test_every_reduction_equals_a_slow_one(reduce, slow, sides):
    scores = {name: torch.rand(shape) for name, shape in SHAPES.items()}
    found = unit_scores(CHANNELS, scores, reduce, sides).tolist()
    for unit in range(3):
        elements = [v for n in SIDES[sides] for v in scores[n][owned(n, unit)].tolist()]
        assert found[unit] == pytest.approx(slow(elements), rel=1e-6)


@pytest.mark.parametrize("sides", SIDES)
def test_rows_hold_what_a_unit_owns(sides):
    values = {name: torch.rand(shape) for name, shape in SHAPES.items()}
    rows = unit_rows(CHANNELS, values, sides)
    for name, row in zip(SIDES[sides], rows, strict=True):
        for unit in range(3):
            expected = values[name][owned(name, unit)].tolist()
            assert sorted(row[unit].tolist()) == sorted(expected)


def test_rows_of_single_weights():
    values = torch.rand(3, 2)
    (rows,) = unit_rows(flat("w", 6), {"w": values})
    assert torch.equal(rows, values.view(6, 1))


def test_channels_compare_with_the_average_of_their_group_and_weights_as_they_are():
    single = Group("w", 3, (Member(Axis("w", -1), "out", 3),))
    channels = Group("c", 3, (Member(Axis("c.weight", 0), "out", 3, torch.arange(3)[:, None]),))
    scores, dead = torch.tensor([9.0, 1.0, 5.0]), torch.tensor([True, False, False])
    assert comparable_scores(single, scores, dead).tolist() == [9.0, 1.0, 5.0]
    # What is removed counts as zero: (0 + 1 + 5) / 3 = 2.
    assert comparable_scores(channels, scores, dead).tolist() == [4.5, 0.5, 2.5]
    nothing = torch.zeros(3)
    assert comparable_scores(channels, nothing, dead).tolist() == [0.0, 0.0, 0.0]
    assert comparable_scores(channels, scores, dead, "max")[1:].tolist() == pytest.approx(
        [1 / 5, 1.0]
    )
    assert comparable_scores(channels, scores, dead, "none").tolist() == [9.0, 1.0, 5.0]


def test_scores_with_a_sign_keep_their_order():
    channels = Group("c", 3, (Member(Axis("c.weight", 0), "out", 3),))
    scores = torch.tensor([-3.0, 1.0, -2.0])
    assert comparable_scores(channels, scores, torch.zeros(3).bool()).tolist() == [-1.5, 0.5, -1.0]


def test_a_member_that_only_gives_the_shape_does_not_count():
    members = (Member(Axis("g", 0), "out", 2), Member(Axis("v", 0), "shape", 2))
    tensors = {"g": torch.tensor([[0.0], [1.0]]), "v": torch.ones(2, 3)}
    assert unit_scores(Group("g", 2, members), tensors).tolist() == [0.0, 1.0]


def test_blocks_of_weights_compare_with_the_average_of_their_group():
    tiles = member("w", -1, 4, positions=[[0, 1], [2, 3]])
    scores = torch.tensor([100.0, 300.0])
    found = comparable_scores(Group("w", 2, (tiles,)), scores, torch.zeros(2, dtype=torch.bool))
    assert found.tolist() == [0.5, 1.5]


MODULES = Group(
    "list",
    2,
    tuple(
        Member(Axis(f"list.{unit}.{name}", 0), "out", size, owner=(unit, 2))
        for unit in range(2)
        for name, size in (("weight", 2), ("bias", 1))
    ),
)
HELD = {
    "list.0.weight": torch.tensor([[-1.0, -2.0], [-3.0, -4.0]]),
    "list.0.bias": torch.tensor([-5.0]),
    "list.1.weight": torch.tensor([[1.0, 2.0], [3.0, 4.0]]),
    "list.1.bias": torch.tensor([5.0]),
}


@pytest.mark.parametrize(
    ("reduce", "expected"),
    [("sum", [-15, 15]), ("mean", [-3, 3]), ("max", [-1, 5]), ("l2", [55**0.5, 55**0.5])],
)
def test_modules_that_are_units_are_scored_by_all_of_their_own(reduce, expected):
    assert torch.allclose(unit_scores(MODULES, HELD, reduce), torch.tensor(expected).float())


def test_rows_of_modules_stand_beside_each_other():
    assert [rows.tolist() for rows in unit_rows(MODULES, HELD)] == [
        [[-1, -2, -3, -4], [1, 2, 3, 4]],
        [[-5], [5]],
    ]
