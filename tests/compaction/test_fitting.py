"""What a plan may do to sizes: only make them smaller, by as much as the tensors lose."""

import pytest
import torch

from lightning_prune.compaction.fitting import _identical, _is_same_share, _shrinks
from lightning_prune.compaction.plan import Cut, SizeChange


@pytest.mark.parametrize(
    ("before", "after", "allowed"),
    [
        (8, 4, True),
        (8, 8, True),
        (8, 9, False),
        ((8, 3), (4, 3), True),
        ((8, 3), (4, 4), False),
        ((8, 3), (4,), False),
        (8, (4,), False),
        ((8,), 4, False),
    ],
)
def test_a_size_becomes_no_larger_and_no_other_kind(before, after, allowed):
    assert _shrinks(before, after) == allowed


def test_tensors_are_identical_in_type_and_shape_too():
    zeros = torch.zeros(2)
    assert _identical(zeros, zeros.clone())
    for other in (torch.zeros(1, dtype=torch.float64), torch.zeros(1, 2), -zeros):
        assert not _identical(zeros, other)


@pytest.mark.parametrize(
    ("change", "cut", "allowed"),
    [
        (SizeChange(4, 2), Cut((0, 1, 4, 5), 8), True),
        (SizeChange(4, 2), Cut((0, 4), 8), True),  # both heads keep as many features
        (SizeChange(4, 2), Cut((0, 1, 4), 8), False),  # one keeps two, the other one
        (SizeChange(4, 3), Cut((0, 1, 4, 5), 8), False),
        (SizeChange(3, 2), Cut((0, 1, 4, 5), 8), False),  # eight are no three groups
        (SizeChange((4,), (2,)), Cut((0, 1, 4, 5), 8), False),
    ],
)
def test_a_number_of_groups_is_that_of_the_groups_left(change, cut, allowed):
    assert _is_same_share(change, cut) == allowed
