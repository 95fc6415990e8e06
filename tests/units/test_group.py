import torch

from lightning_prune.units.group import Axis, Group, GroupCount, Member

CHANNELS = Group(
    "a",
    2,
    (
        Member(Axis("a.weight", 0), "out", 4, torch.tensor([[0, 2], [1, 3]])),
        Member(Axis("a.mean", 0), "out", 4, torch.tensor([[0, 2], [1, 3]]), buffer=True),
        Member(Axis("b.weight", 1), "in", 2, torch.tensor([[0], [1]])),
    ),
)
SINGLE = Group("a.weight", 6, (Member(Axis("a.weight", -1), "out", 6),))


def test_a_unit_owns_its_positions():
    second = torch.tensor([False, True])
    assert [m.owned_by(second).tolist() for m in CHANNELS.members] == [[1, 3], [1, 3], [1]]
    assert [m.width for m in CHANNELS.members] == [2, 2, 1]


def test_a_single_weight_owns_the_position_of_its_index():
    marked = torch.tensor([True, False, False, True, False, False])
    assert SINGLE.members[0].owned_by(marked).tolist() == [0, 3]
    assert (SINGLE.single_weights, CHANNELS.single_weights) == (True, False)


def test_values_along_an_axis_are_gathered_by_unit():
    values = torch.arange(8.0).view(4, 2)
    assert CHANNELS.members[0].gather(values).tolist() == [[[0, 1], [4, 5]], [[2, 3], [6, 7]]]
    assert SINGLE.members[0].gather(torch.arange(6)).tolist() == [[0], [1], [2], [3], [4], [5]]


def test_values_of_units_are_spread_along_an_axis():
    wider = Member(Axis("c.weight", 0), "out", 5, torch.tensor([[4, 1], [0, 2]]))
    assert wider.spread(torch.tensor([7.0, 8.0]), elsewhere=1.0).tolist() == [8, 7, 8, 1, 7]
    flags = torch.tensor([True, False, True, True, True, False])
    assert SINGLE.members[0].spread(flags, elsewhere=True) is flags  # of single weights: no copy


def test_modules_that_read_or_only_keep_buffers_are_no_writers():
    assert CHANNELS.writers == ("a",)
    assert [str(m.axis) for m in CHANNELS.parameters] == ["a.weight[0]", "b.weight[1]"]


def test_what_is_not_removed_is_kept():
    assert GroupCount("a", 8, 3).kept == 5


def test_a_block_of_weights_is_not_a_single_weight():
    tiles = Member(Axis("a.weight", -1), "out", 6, torch.tensor([[0, 1, 2], [3, 4, 5]]))
    singles = Member(Axis("a.weight", -1), "out", 3, torch.tensor([[0], [1], [2]]))
    assert not Group("a.weight", 2, (tiles,)).single_weights
    assert Group("a.weight", 3, (singles,)).single_weights


def test_one_unit_may_own_a_whole_axis_and_the_others_none():
    member = Member(Axis("a.1.weight", 0), "out", 3, owner=(1, 4))
    values = torch.tensor([1.0, -2.0, 3.0])
    assert member.width == 3 / 4
    assert member.owned_by(torch.arange(4) == 1).tolist() == [0, 1, 2]
    assert member.owned_by(torch.arange(4) != 1).tolist() == []
    assert member.gather(values).tolist() == [[0] * 3, [1, -2, 3], [0] * 3, [0] * 3]
    assert member.gather(values, -torch.inf).amax(1)[0] == -torch.inf
    spread = member.spread(torch.tensor([True, False, True, True]), elsewhere=True)
    assert spread.tolist() == [False] * 3
