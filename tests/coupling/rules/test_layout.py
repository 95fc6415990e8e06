"""What moves elements carries their labels along."""

import pytest
import torch
import torch.nn.functional as F
from support.nets import CONV, Between, Net, Whole
from support.oracle import assert_removable
from torch import nn

from lightning_prune.coupling.rules import RULES, rule


def conv(channels: int):
    return lambda: nn.Conv2d(channels, 4, 1)


def conv1d(channels: int):
    return lambda: nn.Conv1d(channels, 4, 1)


def linear(features: int):
    return lambda: nn.Linear(features, 4)


SAME = {
    "clone": torch.clone,
    "contiguous": lambda x: x.transpose(1, 2).contiguous().transpose(1, 2),
    "to_and_back": lambda x: x.to(torch.float64).to(x),
    "detach": torch.detach,
    "permute_and_back": lambda x: x.permute(0, 2, 3, 1).permute(0, 3, 1, 2),
    "movedim_and_back": lambda x: x.movedim(1, -1).movedim(-1, 1),
    "unsqueeze_squeeze": lambda x: x.unsqueeze(1).squeeze(1),
    "unsqueeze_in_place": lambda x: x.clone().unsqueeze_(1).squeeze_(1),
    "flatten_unflatten": lambda x: x.flatten(2).unflatten(2, (6, 6)),
    "view_as": lambda x: x.flatten(2).view_as(x),
    "reshape_with_minus_one": lambda x: x.reshape(2, -1, 36).reshape(2, -1, 6, 6),
    "split_and_merged_columns": lambda x: x.view(2, -1, 1, 6, 6).flatten(1, 2),
    "batch_merged_and_split": lambda x: x.flatten(0, 1).view(2, -1, 6, 6),
    "whole_slice": lambda x: x[:, :],
    "whole_slice_from_the_end": lambda x: x[:, -8:],
    "every_second_position": lambda x: x[:, :, ::2, 1:],
    "flip": lambda x: x.flip(1),
    "roll_positions": lambda x: x.roll((1, 2), (2, 3)),
    "unfold_positions": lambda x: x.unfold(3, 2, 2).mean(-1),
    "stack_and_sum": lambda x: torch.stack([x, 2 * x]).sum(0),
    "cat_along_positions": lambda x: torch.cat([x, x.relu()], 2),
    "expand": lambda x: x.mean((2, 3), keepdim=True).expand(-1, -1, 6, 6),
    "expand_as": lambda x: x.mean((2, 3), keepdim=True).expand_as(x),
    "repeat_positions": lambda x: x.repeat(1, 1, 2, 1),
    "lower_triangle_of_positions": torch.tril,
    "pad_positions_with_zeros": lambda x: F.pad(x, (1, 2, 0, 1)),
    "pad_positions_by_reflection": lambda x: F.pad(x, (1, 1, 1, 1), mode="reflect"),
    "pad_positions_by_replication": lambda x: F.pad(x, (1, 1, 1, 1), mode="replicate"),
    "pad_positions_in_circles": lambda x: F.pad(x, (1, 1, 1, 1), mode="circular"),
    "crop_by_negative_padding": lambda x: F.pad(x, (-1, -1, 0, 0)),
}


@pytest.mark.parametrize("op", SAME.values(), ids=SAME)
def test_channels_stay_channels(op):
    Between(op, units=8).check()


MOVED = {
    "flatten": Between(lambda x: x.flatten(1), 8, second=linear(288)),
    "view": Between(lambda x: x.view(len(x), -1), 8, second=linear(288)),
    "channels_last": Between(lambda x: x.permute(0, 2, 3, 1), 8, second=linear(8)),
    "positions_first": Between(
        lambda x: x.flatten(2).transpose(1, 2).reshape(2, -1), 8, second=linear(288)
    ),
    "select_a_position": Between(lambda x: x[:, :, 0], 8, second=conv1d(8)),
    "unbind_positions": Between(lambda x: x.unbind(2)[1], 8, second=conv1d(8)),
    "repeat_channels": Between(lambda x: x.repeat(1, 2, 1, 1), 8, second=conv(16)),
    "tile_channels": Between(lambda x: x.tile(2, 1, 1), 8, second=conv(16)),
    "cat_with_itself": Between(lambda x: torch.cat([x.relu(), x], 1), 8, second=conv(16)),
    "cat_with_a_constant": Between(
        lambda x: torch.cat([x.new_ones(2, 3, 6, 6), x], 1), 8, second=conv(11), constant=True
    ),
    "stacked_and_merged": Between(
        lambda x: torch.stack([x, x], 2).flatten(1, 2), 8, second=conv(16)
    ),
    "equal_parts_added": Between(lambda x: sum(x.split(x.shape[1] // 2, 1)), 4, second=conv(4)),
    "halves_added": Between(
        lambda x: x[:, : x.shape[1] // 2] + x[:, x.shape[1] // 2 :], 4, second=conv(4)
    ),
    "parts_by_index_added": Between(
        lambda x: sum(x.tensor_split([x.shape[1] // 2], 1)), 4, second=conv(4)
    ),
    "equal_parts_by_number_added": Between(lambda x: sum(x.tensor_split(2, 1)), 4, second=conv(4)),
    "halves_swapped": Between(
        lambda x: torch.cat([x[:, x.shape[1] // 2 :], x[:, : x.shape[1] // 2] * 2], 1) + x,
        4,
    ),
    "chunks_added": Between(lambda x: sum(x.chunk(2, 1)), 4, second=conv(4)),
    "chunks_fewer_than_asked_for": Between(lambda x: sum(x.chunk(5, 1)), 2, second=conv(2)),
    "rows_of_columns": Between(lambda x: x.view(2, 4, -1, 6, 6).flatten(1, 2), 4),
    "rows_of_columns_summed": Between(lambda x: x.view(2, -1, 2, 6, 6).sum(2), 4, second=conv(4)),
    "pad_channels": Between(lambda x: F.pad(x, (0, 0, 0, 0, 1, 2)), 8, second=conv(11)),
    "pad_channels_with_ones": Between(
        lambda x: F.pad(x, (0, 0, 0, 0, 1, 2), value=1.0), 8, second=conv(11), constant=True
    ),
    "pad_positions_with_ones": Between(lambda x: F.pad(x, (1, 1), value=1.0), 8, constant=True),
}


@pytest.mark.parametrize("row", MOVED.values(), ids=MOVED)
def test_labels_move_with_their_elements(row):
    row.check()


FROZEN = {
    "every_second_channel": (lambda x: x[:, ::2], conv(4), "picked by position"),
    "select_a_channel": (lambda x: x[:, 3], linear(6), "picked by position"),
    "unbind_channels": (lambda x: x.unbind(1)[3], linear(6), "picked by position"),
    "unequal_chunks": (lambda x: x.chunk(3, 1)[0], conv(3), "unequal"),
    "roll_channels": (lambda x: x.roll(1, 1), conv(8), "moved by position"),
    "unfold_channels": (lambda x: x.unfold(1, 2, 2).mean(-1), conv(4), "moved by position"),
    "triangle_of_channels": (
        lambda x: x.flatten(2).tril(),
        conv1d(8),
        "set to zero by position",
    ),
    "reflected_channels": (
        lambda x: F.pad(x.flatten(2).transpose(1, 2), (1, 1), mode="reflect"),
        linear(10),
        "padded with its own",
    ),
    "cropped_channels": (
        lambda x: F.pad(x, (0, 0, 0, 0, -1, -1)),
        conv(6),
        "padded with its own",
    ),
}


@pytest.mark.parametrize(("op", "second", "reason"), FROZEN.values(), ids=FROZEN)
def test_it_freezes(op, second, reason):
    Between(op, second=second, reason=reason).check()


def test_a_slice_carries_its_part():
    """Of 8 channels the first 3 are read by one layer, the others by another."""

    def forward(m, x):
        x = m.first(x)
        count = m.left.weight.shape[1]
        return m.left(x[:, :count]), m.right(x[:, count:]), m.all(x)

    Whole(
        lambda: Net(
            forward,
            first=nn.Conv2d(3, 8, 1),
            left=nn.Conv2d(3, 2, 1),
            right=nn.Conv2d(5, 2, 1),
            all=nn.Conv2d(8, 2, 1),
        ),
        ((2, 3, 4, 4),),
        {
            "all.weight[1] first.bias[0] first.weight[0] left.weight[1]": 3,
            "all.weight[1] first.bias[0] first.weight[0] right.weight[1]": 5,
        },
    ).check()


@pytest.mark.parametrize(
    "cut",
    [
        lambda x, count: x.split([count, x.shape[1] - count], 1),
        lambda x, count: (x.narrow(1, 0, count), x.narrow(1, count, x.shape[1] - count)),
        lambda x, count: x.tensor_split((count,), 1),
    ],
    ids=["split", "narrow", "tensor_split"],
)
def test_a_part_carries_its_own_channels_along(cut):
    def forward(m, x):
        first, second = cut(m.first(x), m.left.weight.shape[1])
        return m.left(first), m.right(second)

    Whole(
        lambda: Net(
            forward,
            first=nn.Conv2d(3, 8, 1),
            left=nn.Conv2d(3, 2, 1),
            right=nn.Conv2d(5, 2, 1),
        ),
        ((2, 3, 4, 4),),
        {f"{CONV} left.weight[1]": 3, f"{CONV} right.weight[1]": 5},
    ).check()


def test_chunks_lose_the_same_channels():
    def forward(m, x):
        first, second = m.first(x).chunk(2, 1)
        return m.left(first), m.right(second)

    Whole(
        lambda: Net(
            forward,
            first=nn.Conv2d(3, 8, 1),
            left=nn.Conv2d(4, 2, 1),
            right=nn.Conv2d(4, 2, 1),
        ),
        ((2, 3, 4, 4),),
        {f"{CONV} left.weight[1] right.weight[1]": 4},
    ).check()


def test_a_part_of_one_channel_stays():
    def forward(m, x):
        gate, rest = x[:, :1], x[:, 1:]
        return m.last(rest * gate.sigmoid())

    net = Net(
        lambda m, x: forward(m, m.first(x)), first=nn.Conv2d(3, 8, 1), last=nn.Conv2d(7, 2, 1)
    )
    coupling = assert_removable(net, (torch.randn(2, 3, 4, 4),))
    (group,) = coupling.groups
    assert group.members[0].positions.flatten().tolist() == list(range(1, 8))
    (frozen,) = (f for f in coupling.frozen if str(f.axis) == "first.weight[0]")
    assert (frozen.positions, frozen.reason.split(" (")[0]) == (1, "a part of one")


def test_a_part_of_one_row_ties_its_columns():
    def forward(m, x):
        grid = m.first(x).unflatten(-1, (-1, 2))
        return m.last((grid[..., :1] + grid).flatten(-2))

    net = Net(forward, first=nn.Linear(3, 8), last=nn.Linear(8, 2))
    (group,) = assert_removable(net, (torch.randn(2, 3),)).groups
    assert (group.units, group.members[0].width) == (4, 2)


def test_positions_beyond_the_part_of_a_weight_that_is_used_stay():
    """How many are used depends on the input."""
    net = Net(
        lambda m, x: m.last(m.first(x) + m.places[: x.shape[1]]),
        first=nn.Linear(3, 8),
        places=nn.Parameter(torch.randn(20, 8)),
        last=nn.Linear(8, 2),
    )
    coupling = assert_removable(net, (torch.randn(2, 5, 3),))
    (group,) = coupling.groups
    assert "places[1]" in {str(m.axis) for m in group.members}
    assert {str(f.axis): f.positions for f in coupling.frozen}["places[0]"] == 20


def test_a_part_of_a_weight_that_is_used_whole_as_well_keeps_nothing_back():
    """A third of the biases is set to zero before all of them are used."""

    def forward(m, x):
        bias = m.bias.clone()
        third = bias.numel() // 3
        bias[third : 2 * third].zero_()
        return m.last(sum(F.linear(x, m.weight, bias).chunk(3, -1)))

    Whole(
        lambda: Net(
            forward,
            weight=nn.Parameter(torch.randn(12, 3)),
            bias=nn.Parameter(torch.randn(12)),
            last=nn.Linear(4, 2),
        ),
        ((2, 3),),
        {"bias[0] last.weight[1] weight[0]": 4},
    ).check()


def test_a_part_that_varies_less_is_joined_to_one_that_keeps_what_leads():
    """Like heads of which only some features are rotated."""

    def forward(m, x):
        heads = m.first(x).unflatten(-1, (-1, 4))
        turned = heads[..., :2] * torch.tensor([1.0, 2.0]).to(x)
        return m.last(torch.cat([turned, heads[..., 2:]], -1).flatten(-2))

    net = Net(forward, first=nn.Linear(3, 12), last=nn.Linear(12, 2))
    (group,) = assert_removable(net, (torch.randn(2, 3),)).groups
    assert (group.units, group.members[0].width) == (3, 4)


def test_parts_of_a_weight_are_used_as_weights():
    def forward(m, x):
        half = m.both.shape[0] // 2
        return m.last(F.linear(x, m.both[:half]) * F.linear(x, m.both[half:]))

    Whole(
        lambda: Net(forward, both=nn.Parameter(torch.randn(16, 3)), last=nn.Linear(8, 2)),
        ((2, 3),),
        {"both[0] last.weight[1]": 8},
    ).check()


def test_padded_channels_meet_channels_that_must_stay():
    net = Net(
        lambda m, x: m.last(m.wide(x) + F.pad(m.narrow(x), (0, 0, 0, 0, 1, 1))),
        narrow=nn.Conv2d(3, 4, 1),
        wide=nn.Conv2d(3, 6, 1),
        last=nn.Conv2d(6, 2, 1),
    )
    (group,) = assert_removable(net, (torch.randn(2, 3, 4, 4),)).groups
    positions = {
        str(m.axis): m.gather(torch.arange(m.size)).flatten().tolist() for m in group.members
    }
    assert positions["narrow.weight[0]"] == [0, 1, 2, 3]
    assert positions["wide.weight[0]"] == positions["last.weight[1]"] == [1, 2, 3, 4]


def test_concatenated_layers_keep_their_own_groups():
    Whole(
        lambda: Net(
            lambda m, x: m.last(torch.cat([m.a(x), x, m.b(x)], 1)),
            a=nn.Conv2d(3, 4, 1),
            b=nn.Conv2d(3, 5, 1, bias=False),
            last=nn.Conv2d(12, 2, 1),
        ),
        ((2, 3, 4, 4),),
        {"a.bias[0] a.weight[0] last.weight[1]": 4, "b.weight[0] last.weight[1]": 5},
    ).check()


def test_an_operation_has_one_rule():
    with pytest.raises(ValueError, match=r"Expected `names` .* aten::permute, which has one"):
        rule("aten::permute")(RULES["aten::permute"])
