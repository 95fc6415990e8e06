"""Other values are of the kind that the example shows."""

import pytest
import torch

from lightning_prune.compaction.verification.values import (
    drawn,
    filled_masks,
    from_zero,
    kind_of,
    mixed_masks,
    permuted,
)
from lightning_prune.modules.inputs import ExampleInputs

INFINITE = float("inf")


def of(*tensors):
    return ExampleInputs(tensors)


@pytest.mark.parametrize(
    ("tensor", "kind"),
    [
        (torch.randn(3), "floats"),
        (torch.zeros(3), "floats"),
        (torch.tensor(1.0), "floats"),
        (torch.tensor([3, 4]), "integers"),
        (torch.tensor(1), "integers"),
        (torch.ones(3, dtype=torch.bool), "mask"),
        (torch.ones(3, dtype=torch.long), "mask"),
        (torch.tensor([0.0, 1.0]), "mask"),
        (torch.tensor([0.0, -INFINITE]), "hiding"),
        (torch.tensor([0.0, torch.finfo(torch.float32).min]), "hiding"),
        (torch.tensor([1.0, torch.nan]), "fixed"),
        (torch.zeros(0), "fixed"),
        (torch.ones(2, dtype=torch.complex64), "fixed"),
    ],
)
def test_the_example_shows_what_values_mean(tensor, kind):
    assert kind_of(tensor) == kind


def test_random_values_have_the_mean_and_spread_of_the_example():
    x = 5 + 3 * torch.randn(1000, generator=torch.Generator().manual_seed(1))
    y = drawn(of(x), of(x), 0).tensors[0]
    assert y.mean().item() == pytest.approx(5, abs=0.5)
    assert y.std().item() == pytest.approx(3, rel=0.1)
    tenfold = drawn(of(x), of(x), 0, scale=10.0).tensors[0]
    assert torch.equal(tenfold, 10 * y)


def test_what_is_never_negative_stays_so():
    x = torch.rand(1000)
    assert drawn(of(x), of(x), 0).tensors[0].min() >= 0


def test_whole_numbers_stay_in_the_range_of_the_example():
    x = torch.arange(3, 9).repeat(50)
    y = drawn(of(x), of(x), 0).tensors[0]
    assert (int(y.min()), int(y.max())) == (3, 8)
    assert not torch.equal(x, y)


def test_whole_numbers_from_zero_on_reach_the_padding():
    x = torch.full((100,), 6)
    assert set(from_zero(of(x), 0).tensors[0].tolist()) == set(range(7))
    y = torch.tensor([-1, 5])
    assert from_zero(of(y), 0).tensors[0] is y


@pytest.mark.parametrize("value", [torch.nan, -INFINITE, 1j])
def test_whole_numbers_are_drawn_beside_what_is_no_number(value):
    unknown = torch.tensor([1.0, value])
    numbers, kept = from_zero(of(torch.full((100,), 6), unknown), 0).tensors
    assert 0 in numbers
    assert kept is unknown


def test_a_permutation_keeps_the_numbers():
    x = torch.arange(20).view(4, 5)
    y = permuted(of(x), 0).tensors[0]
    assert sorted(y.flatten().tolist()) == list(range(20))
    assert not torch.equal(x, y)


def test_masks_are_no_numbers_beside_others():
    x, mask = torch.randn(4), torch.ones(4)
    assert drawn(of(x, mask), of(x, mask), 0).tensors[1] is mask


def test_zeros_and_ones_alone_are_numbers():
    x = torch.ones(4)
    assert len(set(drawn(of(x), of(x), 0).tensors[0].tolist())) == 4


@pytest.mark.parametrize("dtype", [torch.bool, torch.long, torch.float32])
def test_masks_are_mixed_and_show_the_first_position(dtype):
    mask = torch.ones(8, 20, dtype=dtype)
    mixed = mixed_masks(of(mask), 0).tensors[0]
    assert mixed.dtype == dtype
    assert bool(mixed[:, 0].all())
    assert 0 < int(mixed.sum()) < mixed.numel()
    assert set(filled_masks(of(mixed), shown=True).tensors[0].flatten().tolist()) == {1}
    assert set(filled_masks(of(mixed), shown=False).tensors[0].flatten().tolist()) == {0}


def test_of_masks_whose_true_hides_the_first_position_stays_shown():
    mask = torch.ones(6, 6, dtype=torch.bool).triu(1)
    mixed = mixed_masks(of(mask), 0).tensors[0]
    assert not bool(mixed[:, 0].any())
    assert 0 < int(mixed.sum()) < mixed.numel()


def test_a_mask_without_a_position_is_mixed():
    assert mixed_masks(of(torch.tensor(True)), 0).tensors[0].shape == ()


def test_masks_that_are_added_are_mixed():
    mask = torch.tensor([[0.0, 0.0, 0.0, -INFINITE]] * 9)
    mixed = mixed_masks(of(mask), 0).tensors[0]
    assert set(mixed.flatten().tolist()) == {0.0, -INFINITE}
    assert not bool(mixed[:, 0].any())
    assert not torch.equal(mixed, mask)
    assert not bool(filled_masks(of(mask), shown=True).tensors[0].any())
