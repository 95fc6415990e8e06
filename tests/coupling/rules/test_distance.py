"""Distances tie the features of both sides."""

import pytest
import torch
from support.nets import Between, Net, Whole
from torch import nn


def distances(order, change=lambda y: y):
    """Distances between tokens and learned prototypes, both of 8 features."""
    return lambda: Net(
        lambda m, x: m.last(torch.cdist(change(m.first(x)), m.prototypes, order)),
        first=nn.Linear(3, 8),
        prototypes=nn.Parameter(torch.randn(5, 8)),
        last=nn.Linear(5, 2),
    )


@pytest.mark.parametrize("order", [1.0, 2.0, 3.0])
def test_features_that_are_zero_on_both_sides_add_nothing(order):
    row = Whole(
        distances(order),
        ((2, 4, 3),),
        {
            "first.bias[0] first.weight[0] prototypes[1]": 8,
            "last.weight[1] prototypes[0]": 5,
        },
    )
    row.check()


def test_features_that_are_not_zero_freeze():
    Whole(
        distances(2.0, torch.sigmoid),
        ((2, 4, 3),),
        {"last.weight[1] prototypes[0]": 5},
        {"first.weight[0]": "in a distance where it is not zero"},
    ).check()


def test_pairwise_distances():
    Between(
        lambda x: (
            x
            * nn.functional.pairwise_distance(x.flatten(1), -x.flatten(1), eps=0)[
                :, None, None, None
            ]
        ),
        8,
        exposed=True,
    ).check()
