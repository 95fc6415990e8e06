"""What data pick stays; along the other dimensions labels are carried."""

import pytest
import torch
import torch.nn.functional as F
from support.nets import Between, Net, Whole
from torch import nn
from torch.nn.utils.rnn import pad_sequence

ROWS = torch.tensor([[0, 5], [3, 1]])


def placed(x):
    y = x.new_zeros(x.shape)
    y[:, :, [0, 2]] = x[:, :, [4, 1]]
    return y


def placed_by_mask(x):
    y = x.new_zeros(2, 6, 6, x.shape[1])
    mask = torch.eye(6).bool()
    y[:, mask] = x.permute(0, 2, 3, 1)[:, mask]
    return y.permute(0, 3, 1, 2)


def added(x):
    return x.new_zeros(x.shape).index_add(2, torch.tensor([1, 1, 0]), x[:, :, :3])


def ones_placed(x):
    y = x.clone()
    y[:, :, [0, 2]] = 1.0
    return y


def stacked(x):
    parts = [one.permute(1, 2, 0) for one in x]
    return pad_sequence([parts[0], parts[1][:4]], batch_first=True).permute(0, 3, 1, 2)


CARRIED = {
    "index_of_positions": lambda x: x[:, :, [0, 3, 5]],
    "index_in_two_dims": lambda x: x[:, :, ROWS, ROWS.t()],
    "index_around_a_slice": lambda x: x.permute(2, 0, 1, 3)[ROWS[0], :, :, ROWS[1]][
        ..., None
    ].permute(1, 2, 0, 3),
    "index_on_both_sides_of_channels": lambda x: x.transpose(0, 1)[:, [0, 1], :, [2, 3]][..., None],
    "index_by_a_mask": lambda x: x[:, :, torch.eye(6).bool()][..., None],
    "index_of_examples": lambda x: x[[1, 0, 1]],
    "index_select": lambda x: x.index_select(2, torch.tensor([1, 1, 4])),
    "placed": placed,
    "placed_by_mask": placed_by_mask,
    "added": added,
    "padded_to_one_length": stacked,
    "a_slice_replaced": lambda x: x.slice_scatter(x[:, :, :2].sin(), 2, 4),
    "gather": lambda x: x.gather(2, x.argmax(2, keepdim=True)),
    "take_along_dim": lambda x: x.take_along_dim(x.argmax(2, keepdim=True), 2),
    "scatter_add": lambda x: torch.zeros_like(x).scatter_add(2, x.argsort(2), x),
    "sorted_positions": lambda x: x.sort(2).values,
    "largest_positions": lambda x: x.topk(3, 2).values,
    "kth_position": lambda x: x.kthvalue(2, 2, keepdim=True).values,
    "median": lambda x: x.median(3, keepdim=True).values,
    "median_dropped": lambda x: x.median(3).values[..., None],
    "cumulative_sum": lambda x: x.cumsum(2),
    "cumulative_maximum": lambda x: x.cummax(3).values,
}

CONSTANT = {
    "ones_in_a_slice": lambda x: x.select_scatter(torch.ones_like(x[:, :, 0]), 2, 1),
    "ones_at_some_positions": ones_placed,
    "filled_at_some_positions": lambda x: x.index_fill(2, torch.tensor([0, 2]), 1.0),
    "places": lambda x: x.argsort(2).to(x),
    "place_of_the_largest": lambda x: x.topk(2, 2).indices.to(x),
    "scattered_number": lambda x: x.scatter(2, x.argmax(2, keepdim=True), 1.0),
    "cumulative_exponentials": lambda x: x.logcumsumexp(2),
    "one_hot": lambda x: F.one_hot((x > 0).long(), 2).to(x)[..., 0],
}

FROZEN = {
    "index_of_channels": (lambda x: x[:, [0, 3, 5]], 3, "picked by data"),
    "index_by_channels": (lambda x: x * x[:, :, x.argmax(2)[:, :, 0] % 6].mean(), 8, "as an index"),
    "replaced_channel": (
        lambda x: x.slice_scatter(x.new_ones(2, 1, 6, 6), 1, 2, 3),
        8,
        "written in part",
    ),
    "index_select": (lambda x: x.index_select(1, torch.tensor([1, 2])), 2, "picked by data"),
    "gather": (lambda x: x.gather(1, x.long() * 0), 8, "picked by data"),
    "gather_without_labels": (
        lambda x: x.gather(2, torch.arange(8)[:, None, None] * torch.zeros(2, 1, 6, 6).long()),
        8,
        "meets a value that cannot shrink",
    ),
    "sort": (lambda x: x.sort(1).values, 8, "ordered along"),
    "cumulative_sum": (lambda x: x.cumsum(1), 8, "ordered along"),
    "masked": (lambda x: x * x.masked_select(x > 0).mean(), 8, "picked by data"),
    "nonzero": (lambda x: x * x.nonzero().sum(), 8, "picked by data"),
    "python_number": (lambda x: x * x.amax((0, 2, 3)).argmax().item(), 8, "reduced over"),
    "equal": (lambda x: x if torch.equal(x, x) else -x, 8, "read by Python"),
    "bucketize": (lambda x: x * torch.bucketize(x, torch.arange(3.0).to(x)), 8, "boundaries"),
}


@pytest.mark.parametrize("op", CARRIED.values(), ids=CARRIED)
def test_channels_stay_channels(op):
    Between(op, 8).check()


@pytest.mark.parametrize("op", CONSTANT.values(), ids=CONSTANT)
def test_channels_stay_and_read_as_a_constant(op):
    Between(op, 8, constant=True).check()


@pytest.mark.parametrize(("op", "channels", "reason"), FROZEN.values(), ids=FROZEN)
def test_it_freezes(op, channels, reason):
    Between(op, reason=reason, second=lambda: nn.Conv2d(channels, 4, 1)).check()


@pytest.mark.parametrize("mode", ["sum", "mean", "max"])
def test_bags_of_embeddings(mode):
    Whole(
        lambda: Net(
            lambda m, x: m.last(m.bag((x > 0).long())),
            bag=nn.EmbeddingBag(5, 8, mode=mode),
            last=nn.Linear(8, 2),
        ),
        ((4, 3),),
        {"bag.weight[1] last.weight[1]": 8},
        {"bag.weight[0]": "picked by data"},
    ).check()


def test_a_table_of_biases_keeps_its_columns():
    table = torch.randint(0, 9, (5, 5), generator=torch.Generator().manual_seed(0))
    Whole(
        lambda: Net(
            lambda m, x: m.last(m.first(x) + m.table[table].mean(1)),
            first=nn.Linear(3, 8),
            table=nn.Parameter(torch.randn(9, 8)),
            last=nn.Linear(8, 2),
        ),
        ((2, 5, 3),),
        {"first.bias[0] first.weight[0] last.weight[1] table[1]": 8},
        {"table[0]": "picked by data"},
    ).check()
