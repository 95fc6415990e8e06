"""Convolutions of every form tie what they read and what they write."""

import pytest
import torch
import torch.nn.functional as F
from support.nets import CONV, Net, Whole
from support.oracle import assert_removable, ties
from torch import nn

from lightning_prune.coupling import couple


def row(middle, units: dict[str, int], size: int = 2, read: int = 8, written: int = 8, frozen=None):
    """A convolution between two others; ``size`` is the number of positional dimensions."""
    kind = {1: nn.Conv1d, 2: nn.Conv2d, 3: nn.Conv3d}[size]
    return Whole(
        lambda: Net(
            lambda m, x: m.last(F.relu(m.middle(F.relu(m.first(x))))),
            first=kind(3, read, 1),
            middle=middle(),
            last=kind(written, 2, 1),
        ),
        ((2, 3, *[6] * size),),
        units,
        frozen or {},
    )


READ = "first.bias[0] first.weight[0] middle.weight[1]"
WRITTEN = "last.weight[1] middle.bias[0] middle.weight[0]"
BOTH = "first.bias[0] first.weight[0] last.weight[1] middle.bias[0] middle.weight[0]"

ROWS = {
    "plain": row(lambda: nn.Conv2d(8, 6, 3), {READ: 8, WRITTEN: 6}, written=6),
    "pointwise": row(lambda: nn.Conv2d(8, 6, 1), {READ: 8, WRITTEN: 6}, written=6),
    "dilated_and_strided": row(
        lambda: nn.Conv2d(8, 6, 2, 2, 1, dilation=2), {READ: 8, WRITTEN: 6}, written=6
    ),
    "without_bias": row(
        lambda: nn.Conv2d(8, 6, 3, bias=False),
        {READ: 8, "last.weight[1] middle.weight[0]": 6},
        written=6,
    ),
    "padded_by_reflection": row(
        lambda: nn.Conv2d(8, 6, 3, padding=1, padding_mode="reflect"),
        {READ: 8, WRITTEN: 6},
        written=6,
    ),
    "same_padding": row(
        lambda: nn.Conv2d(8, 6, 3, padding="same"), {READ: 8, WRITTEN: 6}, written=6
    ),
    "one_dimension": row(lambda: nn.Conv1d(8, 6, 3), {READ: 8, WRITTEN: 6}, 1, written=6),
    "three_dimensions": row(lambda: nn.Conv3d(8, 6, 3), {READ: 8, WRITTEN: 6}, 3, written=6),
    "same_columns_of_two_groups": row(
        lambda: nn.Conv2d(8, 12, 3, groups=2), {READ: 4, WRITTEN: 6}, written=12
    ),
    "as_many_groups_as_columns": row(
        lambda: nn.Conv2d(9, 9, 3, groups=3), {READ: 3, WRITTEN: 3}, read=9, written=9
    ),
    "whole_groups": row(lambda: nn.Conv2d(8, 8, 3, groups=4), {BOTH: 4}),
    "depthwise": row(lambda: nn.Conv2d(8, 8, 3, groups=8), {BOTH: 8}),
    "depthwise_without_bias": row(
        lambda: nn.Conv2d(8, 8, 3, groups=8, bias=False),
        {"first.bias[0] first.weight[0] last.weight[1] middle.weight[0]": 8},
    ),
    "depthwise_multiplier_of_two": row(
        lambda: nn.Conv2d(8, 16, 3, groups=8), {BOTH: 8}, written=16
    ),
    "groups_that_write_much": row(
        lambda: nn.Conv2d(2, 16, 3, groups=2),
        {WRITTEN: 8},
        read=2,
        written=16,
        frozen={"first.weight[0]": "read by a weight that cannot shrink"},
    ),
    "groups_that_read_much": row(
        lambda: nn.Conv2d(8, 2, 3, groups=2),
        {READ: 4},
        written=2,
        frozen={"middle.weight[0]": "all positions of an axis live and die together"},
    ),
    "depthwise_in_one_dimension": row(lambda: nn.Conv1d(8, 8, 3, groups=8), {BOTH: 8}, 1),
    "transposed": row(
        lambda: nn.ConvTranspose2d(8, 6, 2, stride=2),
        {
            "first.bias[0] first.weight[0] middle.weight[0]": 8,
            "last.weight[1] middle.bias[0] middle.weight[1]": 6,
        },
        written=6,
    ),
    "transposed_in_one_dimension": row(
        lambda: nn.ConvTranspose1d(8, 6, 3),
        {
            "first.bias[0] first.weight[0] middle.weight[0]": 8,
            "last.weight[1] middle.bias[0] middle.weight[1]": 6,
        },
        1,
        written=6,
    ),
    "transposed_same_columns": row(
        lambda: nn.ConvTranspose2d(8, 12, 2, groups=2),
        {
            "first.bias[0] first.weight[0] middle.weight[0]": 4,
            "last.weight[1] middle.bias[0] middle.weight[1]": 6,
        },
        written=12,
    ),
    "transposed_whole_groups": row(lambda: nn.ConvTranspose2d(8, 8, 2, groups=4), {BOTH: 4}),
    "transposed_depthwise": row(lambda: nn.ConvTranspose2d(8, 8, 2, groups=8), {BOTH: 8}),
    "transposed_depthwise_multiplier_of_two": row(
        lambda: nn.ConvTranspose2d(8, 16, 2, groups=8), {BOTH: 8}, written=16
    ),
}


@pytest.mark.parametrize("row", ROWS.values(), ids=ROWS)
def test_convolution_rules(row):
    row.check()


def net(function, **parts) -> Net:
    return Net(function, first=nn.Conv2d(3, 8, 3, padding=1), last=nn.Conv2d(8, 2, 1), **parts)


def test_an_image_without_a_batch():
    coupling = assert_removable(net(lambda m, x: m.last(m.first(x))), (torch.randn(3, 6, 6),))
    assert ties(coupling) == {f"{CONV} last.weight[1]": 8}


def test_grouped_image_without_labels_freezes_what_reads_it():
    Whole(
        lambda: Net(
            lambda m, x: m.last(m.first(x)),
            first=nn.Conv2d(4, 8, 3, groups=2),
            last=nn.Conv2d(8, 2, 1),
        ),
        ((2, 4, 6, 6),),
        {f"{CONV} last.weight[1]": 4},
    ).check()


def test_depthwise_on_the_input_cannot_shrink():
    Whole(
        lambda: Net(
            lambda m, x: m.last(m.first(x)),
            first=nn.Conv2d(3, 3, 3, groups=3),
            last=nn.Conv2d(3, 2, 1),
        ),
        ((2, 3, 6, 6),),
        {},
        {"first.weight[0]": "all positions of an axis live and die together"},
    ).check()


FROZEN = {
    "weights_from_the_input": (
        lambda m, x: m.last(F.conv2d(m.first(x), x.flatten()[:32].view(8, 4, 1, 1), groups=2)),
        None,
        "computed from activations",
    ),
    "a_constant_weight": (
        lambda m, x: m.last(F.conv2d(m.first(x), torch.eye(8)[..., None, None].to(x))),
        None,
        "read by a weight that cannot shrink",
    ),
    "channels_as_positions": (
        lambda m, x: m.last(m.first(x)) + m.middle(m.first(x).transpose(1, 2)).argmax(),
        nn.Conv2d(6, 2, 3),
        "convolved along a labelled position",
    ),
}


@pytest.mark.parametrize(("function", "middle", "reason"), FROZEN.values(), ids=FROZEN)
def test_it_freezes(function, middle, reason):
    Whole(
        lambda: net(function, middle=middle), ((2, 3, 6, 6),), {}, {"first.weight[0]": reason}
    ).check()


def test_channels_in_the_batch_see_the_bias_of_a_convolution():
    each = net(
        lambda m, x: m.last(m.middle(m.first(x).flatten(0, 1)[:, None])[:, 0].view(2, -1, 6, 6)),
        middle=nn.Conv2d(1, 1, 3, padding=1),
    )
    (group,) = assert_removable(each, (torch.randn(2, 3, 6, 6),)).groups
    assert (group.units, group.constant is None) == (8, False)


@pytest.mark.parametrize("groups", [2, 8], ids=["columns", "depthwise"])
def test_a_grouped_convolution_that_reads_a_constant_says_so(groups):
    middle = nn.Conv2d(8, 8, 3, groups=groups, bias=False)
    grouped = net(lambda m, x: m.last(m.middle(torch.sigmoid(m.first(x)))), middle=middle)
    reads = assert_removable(grouped, (torch.randn(2, 3, 6, 6),)).groups[0]
    # Depthwise, the weight that reads the constant goes with what writes it.
    assert (reads.constant is None) == (groups == 8)


@pytest.mark.parametrize("transposed", [False, True])
def test_the_general_form(transposed):
    def general(m, x):
        rest = ([1, 1], [0, 0], [1, 1], transposed, [0, 0], 1)
        return m.last(torch.convolution(m.first(x), m.w, m.b, *rest))

    shape = (8, 6, 3, 3) if transposed else (6, 8, 3, 3)
    read, written = ("w[0]", "w[1]") if transposed else ("w[1]", "w[0]")
    Whole(
        lambda: Net(
            general,
            first=nn.Conv2d(3, 8, 1),
            w=nn.Parameter(torch.randn(shape)),
            b=nn.Parameter(torch.randn(6)),
            last=nn.Conv2d(6, 2, 1),
        ),
        ((2, 3, 6, 6),),
        {f"{CONV} {read}": 8, f"b[0] last.weight[1] {written}": 6},
    ).check()


def test_weights_that_lose_whole_groups_are_named():
    whole = net(lambda m, x: m.last(m.middle(m.first(x))), middle=nn.Conv2d(8, 8, 3, groups=8))
    assert assert_removable(whole, (torch.randn(2, 3, 6, 6),)).grouped == {"middle.weight"}


def test_a_weight_costs_one_multiply_add_for_each_position_that_it_writes():
    plain = net(lambda m, x: m.last(m.first(x)))
    batch, positions = 2, 6 * 6
    assert couple(plain, torch.randn(batch, 3, 6, 6)).prices == {
        "first.weight": batch * positions,
        "last.weight": batch * positions,
    }


def test_a_transposed_weight_costs_one_multiply_add_for_each_position_that_it_reads():
    up = net(lambda m, x: m.last(m.middle(m.first(x))), middle=nn.ConvTranspose2d(8, 8, 2, 2))
    batch, positions = 2, 6 * 6
    prices = couple(up, torch.randn(batch, 3, 6, 6)).prices
    assert prices["middle.weight"] == batch * positions
    assert prices["last.weight"] == batch * 4 * positions
