"""What moves elements carries their labels along."""

import pytest
import torch
import torch.nn.functional as F
from nets import Between, Net, Whole
from oracle import assert_removable
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
    "slice_of_channels": (lambda x: x[:, :4], conv(4), "picked by position"),
    "every_second_channel": (lambda x: x[:, ::2], conv(4), "picked by position"),
    "narrow": (lambda x: x.narrow(1, 2, 4), conv(4), "picked by position"),
    "select_a_channel": (lambda x: x[:, 3], linear(6), "picked by position"),
    "unbind_channels": (lambda x: x.unbind(1)[3], linear(6), "picked by position"),
    "split_by_size": (lambda x: sum(x.split(4, 1)), conv(4), "fixed positions"),
    "split_by_sizes": (lambda x: x.split([3, 5], 1)[1], conv(5), "fixed positions"),
    "unequal_chunks": (lambda x: x.chunk(3, 1)[0], conv(3), "unequal"),
    "roll_channels": (lambda x: x.roll(1, 1), conv(8), "moved by position"),
    "unfold_channels": (lambda x: x.unfold(1, 2, 2).mean(-1), conv(4), "moved by position"),
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
    "as_bits": (lambda x: x.view(torch.int64).view(torch.float64), conv(8), "another type"),
}


@pytest.mark.parametrize(("op", "second", "reason"), FROZEN.values(), ids=FROZEN)
def test_it_freezes(op, second, reason):
    Between(op, second=second, reason=reason).check()


def test_padded_channels_meet_channels_that_must_stay():
    net = Net(
        lambda m, x: m.last(m.wide(x) + F.pad(m.narrow(x), (0, 0, 0, 0, 1, 1))),
        narrow=nn.Conv2d(3, 4, 1),
        wide=nn.Conv2d(3, 6, 1),
        last=nn.Conv2d(6, 2, 1),
    )
    (group,) = assert_removable(net, (torch.randn(2, 3, 4, 4),)).groups
    positions = {str(m.axis): m.positions.flatten().tolist() for m in group.members}
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
