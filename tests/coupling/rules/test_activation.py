"""Activations with parameters, and those that look at more than one number."""

import pytest
import torch.nn.functional as F
from support.nets import CONV, Between, Net, Whole
from torch import nn

ROWS = {
    "prelu_of_one_slope": Between(nn.PReLU(), 8),
    "prelu_of_a_slope_for_each_channel": Between(nn.PReLU(8), 8, extra="op.weight[0]"),
    "softmax_over_channels": Between(nn.Softmax(1), reason="normalised over a labelled dimension"),
    "softmax_over_positions": Between(nn.Softmax(3), 8, constant=True),
    "log_softmax_over_positions": Between(nn.LogSoftmax(2), 8, constant=True),
}


@pytest.mark.parametrize("row", ROWS.values(), ids=ROWS)
def test_activation_rules(row):
    row.check()


def test_glu_ties_its_halves():
    row = Between(nn.GLU(1), 4, second=lambda: nn.Conv2d(4, 4, 1))
    row.check()


def test_glu_in_a_transformer_s_feed_forward():
    Whole(
        lambda: Net(
            lambda m, x: m.last(F.glu(m.first(x))), first=nn.Linear(3, 16), last=nn.Linear(8, 2)
        ),
        ((2, 5, 3),),
        {"first.bias[0] first.weight[0] last.weight[1]": 8},
    ).check()


def test_pixel_shuffle_ties_the_channels_that_make_one():
    Whole(
        lambda: Net(
            lambda m, x: m.last(F.pixel_shuffle(m.first(x), 2)),
            first=nn.Conv2d(3, 16, 1),
            last=nn.Conv2d(4, 2, 1),
        ),
        ((2, 3, 4, 4),),
        {f"{CONV} last.weight[1]": 4},
    ).check()
