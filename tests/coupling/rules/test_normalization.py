"""Normalisations tie their vectors to the channels, or freeze what they normalise over."""

import pytest
import torch
import torch.nn.functional as F
from support.nets import Between, Net, Whole
from support.oracle import assert_removable
from torch import nn

VECTORS = "op.bias[0] op.weight[0]"

ROWS = {
    "affine": Between(nn.BatchNorm2d(8), 8, extra=VECTORS),
    "not_affine": Between(nn.BatchNorm2d(8, affine=False), 8, constant=True),
    "without_running_statistics": Between(
        nn.BatchNorm2d(8, track_running_stats=False), 8, extra=VECTORS
    ),
    "neither": Between(
        nn.BatchNorm2d(8, affine=False, track_running_stats=False), 8, constant=True
    ),
    "in_train_mode": Between(
        Net(
            lambda m, x: F.batch_norm(x, None, None, m.weight, m.bias, training=True),
            weight=nn.Parameter(torch.ones(8)),
            bias=nn.Parameter(torch.ones(8)),
        ),
        8,
        extra=VECTORS,
    ),
    "with_a_bias_that_is_never_zero": Between(
        Net(
            lambda m, x: F.batch_norm(x, None, None, m.weight, m.bias.exp(), training=True),
            weight=nn.Parameter(torch.ones(8)),
            bias=nn.Parameter(torch.ones(8)),
        ),
        8,
        extra=VECTORS,
        constant=True,
    ),
    "instance_norm": Between(nn.InstanceNorm2d(8, affine=True), 8, extra=VECTORS),
    "layer_norm_over_positions": Between(nn.LayerNorm((6, 6)), 8, constant=True),
    "layer_norm_over_channels": Between(
        Net(lambda m, x: m.norm(x.transpose(1, 3)).transpose(1, 3), norm=nn.LayerNorm(8)),
        8,
        extra="op.norm.bias[0] op.norm.weight[0]",
        exposed=True,
    ),
    "layer_norm_without_bias": Between(
        Net(
            lambda m, x: m.norm(x.transpose(1, 3)).transpose(1, 3),
            norm=nn.LayerNorm(8, bias=False),
        ),
        8,
        extra="op.norm.weight[0]",
        exposed=True,
    ),
    "layer_norm_without_weights": Between(
        Net(
            lambda m, x: m.norm(x.transpose(1, 3)).transpose(1, 3),
            norm=nn.LayerNorm(8, elementwise_affine=False),
        ),
        8,
        constant=True,  # minus the mean
        exposed=True,
        corrected=True,
    ),
    "rms_norm_without_weights": Between(
        Net(
            lambda m, x: m.norm(x.transpose(1, 3)).transpose(1, 3),
            norm=nn.RMSNorm(8, elementwise_affine=False),
        ),
        8,
        exposed=True,
        corrected=True,
    ),
    "layer_norm_with_a_bias_that_is_never_zero": Between(
        Net(
            lambda m, x: F.layer_norm(x.transpose(1, 3), (8,), m.weight, m.bias.exp()).transpose(
                1, 3
            ),
            weight=nn.Parameter(torch.ones(8)),
            bias=nn.Parameter(torch.ones(8)),
        ),
        8,
        extra=VECTORS,
        constant=True,
        exposed=True,
        corrected=True,
    ),
    "rms_norm_over_channels": Between(
        Net(lambda m, x: m.norm(x.transpose(1, 3)).transpose(1, 3), norm=nn.RMSNorm(8)),
        8,
        extra="op.norm.weight[0]",
        exposed=True,
    ),
    "layer_norm_over_channels_and_positions": Between(
        nn.LayerNorm((8, 6, 6)), reason="normalised over a labelled dimension"
    ),
    "layer_norm_of_what_is_not_zero": Between(
        Net(lambda m, x: m.norm(x.transpose(1, 3).sigmoid()).transpose(1, 3), norm=nn.LayerNorm(8)),
        reason="a norm of what is not zero where a unit is",
    ),
    "group_norm_loses_whole_groups": Between(nn.GroupNorm(4, 8), 4, extra=VECTORS),
    "group_norm_of_single_channels": Between(nn.GroupNorm(8, 8), 8, extra=VECTORS),
    "group_norm_of_one_group": Between(nn.GroupNorm(1, 8), 8, extra=VECTORS, exposed=True),
    "group_norm_of_one_group_of_what_is_not_zero": Between(
        nn.Sequential(nn.Sigmoid(), nn.GroupNorm(1, 8)),
        reason="a norm of what is not zero where a unit is",
    ),
    "group_norm_not_affine": Between(nn.GroupNorm(4, 8, affine=False), reason="cannot shrink"),
    "local_response_norm": Between(
        nn.LocalResponseNorm(2), reason="computed along a labelled position"
    ),
}


@pytest.mark.parametrize("row", ROWS.values(), ids=ROWS)
def test_normalization_rules(row):
    row.check()


OVER_TOKENS = {
    "tracked": nn.BatchNorm1d(5),
    "of_the_batch": nn.BatchNorm1d(5, track_running_stats=False),
}


@pytest.mark.parametrize("norm", OVER_TOKENS.values(), ids=OVER_TOKENS)
def test_statistics_over_labelled_positions_freeze_them(norm):
    Whole(
        lambda: nn.Sequential(nn.Linear(3, 8), norm, nn.Linear(8, 2)),
        ((2, 5, 3),),
        {},
        {"0.weight[0]": "in the statistics of a batch"},
    ).check()


def test_running_statistics_are_members_of_the_group():
    net = nn.Sequential(nn.Conv2d(3, 8, 1), nn.BatchNorm2d(8), nn.Conv2d(8, 2, 1))
    (group,) = assert_removable(net, (torch.randn(2, 3, 4, 4),)).groups
    buffers = {str(member.axis) for member in group.members if member.buffer}
    assert buffers == {"1.running_mean[0]", "1.running_var[0]"}
