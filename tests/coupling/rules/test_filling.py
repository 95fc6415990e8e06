"""Tensors of one value, and repeated values, shrink with what they meet."""

import pytest
import torch
from support.nets import Between, Net, Whole
from support.oracle import assert_removable
from torch import nn

from lightning_prune.coupling import couple


def written_in_parts(x):
    y = x.new_zeros(x.shape)
    y[:, :, :3] = x[:, :, 3:]
    y[:, :, 3:] = x[:, :, :3]
    return y


def filled_in_place(x):
    return x + torch.empty(x.shape[1], 1, 1).fill_(2)


ZERO_STAYS = {
    "zeros": lambda x: x + torch.zeros(len(x), x.shape[1], 6, 6),
    "new_zeros": lambda x: x - x.new_zeros(x.shape),
    "full_of_zeros": lambda x: x + torch.full(x.shape, 0.0),
    "times_ones": lambda x: x * torch.ones(x.shape[1], 1, 1),
    "written_in_parts": written_in_parts,
    "positions_repeated_one_by_one": lambda x: x.repeat_interleave(2, 2),
    "positions_repeated_by_counts": lambda x: x.repeat_interleave(torch.arange(6), 2),
}

CONSTANT = {
    "ones": lambda x: x + torch.ones(x.shape[1], 1, 1),
    "new_ones": lambda x: x + x.new_ones(x.shape),
    "full": lambda x: x + torch.full(x.shape, 0.5),
    "new_full": lambda x: x + x.new_full((x.shape[1], 1, 1), 0.5),
    "filled_in_place": filled_in_place,
    "scalar_expanded": lambda x: x + torch.tensor(2.0).expand(x.shape[1], 1, 1),
    "one_expanded": lambda x: x + torch.ones(()).expand_as(x),
    "repeated": lambda x: x + torch.ones(1, 1, 6).repeat(x.shape[1], 6, 1),
    "repeated_one_by_one": lambda x: x + torch.ones(1, 1, 1).repeat_interleave(x.shape[1], 0),
    "tiled": lambda x: x + torch.ones(1, 1, 6).tile(x.shape[1], 6, 1),
}


@pytest.mark.parametrize("op", ZERO_STAYS.values(), ids=ZERO_STAYS)
def test_zeros_shrink_with_what_they_meet(op):
    Between(op, 8).check()


@pytest.mark.parametrize("op", CONSTANT.values(), ids=CONSTANT)
def test_other_values_shrink_and_stay_as_a_constant(op):
    Between(op, 8, constant=True).check()


def test_channels_repeated_one_by_one():
    Between(lambda x: x.repeat_interleave(2, 1), 8, second=lambda: nn.Conv2d(16, 4, 1)).check()


def test_channels_repeated_by_counts_stay():
    counted = Between(lambda x: x.repeat_interleave(torch.ones(8).long(), 1), reason="by data")
    counted.check()


def test_an_initial_state_of_zeros_belongs_to_no_parameter():
    def cell(m, x):
        state = x.new_zeros(len(x), m.hidden.weight.shape[0])
        for step in x.unbind(1):
            state = torch.tanh(m.reads(step) + m.hidden(state))
        return m.last(state)

    Whole(
        lambda: Net(cell, reads=nn.Linear(3, 8), hidden=nn.Linear(8, 8), last=nn.Linear(8, 2)),
        ((2, 4, 3),),
        {
            "hidden.bias[0] hidden.weight[0] hidden.weight[1] last.weight[1] reads.bias[0] "
            "reads.weight[0]": 8
        },
    ).check()


def test_a_tensor_of_ones_that_meets_nothing_freezes_nothing():
    net = Net(
        lambda m, x: m.last(m.first(x) + torch.ones(3, 5).sum()),
        first=nn.Linear(3, 8),
        last=nn.Linear(8, 2),
    )
    (group,) = assert_removable(net, (torch.randn(2, 3),)).groups
    assert group.units == 8


def test_copies_merged_with_labelled_channels_give_way():
    net = Net(
        lambda m, x: m.last(m.first(x)[:, :, None].expand(-1, -1, 3).flatten(1)),
        first=nn.Linear(3, 8),
        last=nn.Linear(24, 2),
    )
    (group,) = assert_removable(net, (torch.randn(2, 3),)).groups
    assert group.units == 8


def written_at_one_position(x):
    y = x.new_zeros(x.shape[1])
    y[3] = 1
    return x * y[:, None, None]


def test_of_a_fixed_size_that_it_meets_it_picks():
    def op(x):
        return x + (x.new_zeros(x.shape[1]) + torch.arange(8.0))[:, None, None]

    Between(op, 8, constant=True, corrected=True).check()


def test_a_position_written_by_number_stays():
    net = Net(
        lambda m, x: m.last(written_at_one_position(m.first(x))),
        first=nn.Conv2d(3, 8, 1),
        last=nn.Conv2d(8, 2, 1),
    )
    frozen = couple(net, torch.randn(2, 3, 4, 4)).frozen
    assert "picked by position" in next(f.reason for f in frozen if f.axis.tensor == "first.weight")
