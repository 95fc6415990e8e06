"""A reshape moves labels as it moves elements."""

import pytest
import torch
from support.nets import Between
from torch import nn

from lightning_prune.coupling.rules.reshape import reshaped

SHAPES = [
    ((2, 3, 4), (6, 4)),
    ((2, 3, 4), (2, 12)),
    ((2, 3, 4), (24,)),
    ((24,), (2, 3, 4)),
    ((2, 6, 5), (2, 3, 2, 5)),
    ((4, 6), (6, 4)),
    ((2, 1, 3), (2, 3, 1, 1)),
    ((1, 1), ()),
    ((), (1,)),
    ((2, 3, 1, 4), (1, 2, 3, 2, 2)),
    ((0, 3), (3, 0)),
]


@pytest.mark.parametrize(("old", "new"), SHAPES)
def test_ids_are_those_of_the_whole_value_reshaped(old, new):
    for known in range(2 ** len(old)):
        sizes = [size if known >> dim & 1 else 1 for dim, size in enumerate(old)]
        ids = torch.arange(1, 1 + torch.Size(sizes).numel()).reshape(sizes)
        expected = ids.expand(old).reshape(new)
        found = reshaped(ids, old, new)
        assert torch.equal(found.expand(new), expected)


def test_what_has_no_label_is_not_expanded():
    ids = torch.arange(1, 9).reshape(1, 8, 1, 1)
    assert reshaped(ids, (2, 8, 6, 6), (2, 2, 4, 36)).shape == (1, 2, 4, 1)
    assert reshaped(ids, (2, 8, 6, 6), (2, 288)).shape == (1, 288)


def test_neighbours_of_a_shuffle_go_together():
    Between(lambda x: x.view(2, 4, -1, 6, 6).transpose(1, 2).flatten(1, 2), 2).check()


def test_bits_read_as_another_type_freeze():
    Between(
        lambda x: x.view(torch.int64).view(torch.float64),
        second=lambda: nn.Conv2d(8, 4, 1),
        reason="another type",
    ).check()
