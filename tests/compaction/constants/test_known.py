import torch

from lightning_prune.compaction.constants.known import (
    ROUNDING,
    are_equal,
    fixed,
    known,
    unknown,
)

NUMBERS = torch.tensor([[1.0, 2.0], [1.0, 3.0]])


def test_what_varies_holds_a_finite_number():
    value = known(torch.tensor([[False, True], [False, False]]), NUMBERS * torch.inf)
    assert value is None
    value = known(torch.tensor([[False, True], [False, False]]), NUMBERS.log() / 0)
    assert value is None
    value = known(torch.tensor([False, True]), NUMBERS)
    assert value.varies.tolist() == [[False, True], [False, True]]
    assert value.numbers.tolist() == [[1.0, 1.0], [1.0, 1.0]]
    assert value.numbers.dtype == torch.float64
    assert not value.is_fixed


def test_numbers_that_are_not_finite_vary():
    value = fixed(torch.tensor([1.0, torch.inf, torch.nan]))
    assert value.varies.tolist() == [False, True, True]


def test_of_nothing_and_of_complex_numbers_nothing_is_known():
    assert fixed(torch.empty(0, 3)) is None
    assert fixed(torch.ones(2, dtype=torch.complex64)) is None


def test_what_counts_varies_or_is_not_zero():
    value = known(torch.tensor([False, False, True]), torch.tensor([0.0, 2.0, 0.0]))
    assert value.counts.tolist() == [False, True, True]


def test_real_numbers_are_equal_but_for_rounding():
    one = torch.ones(2, dtype=torch.float64)
    other = one + torch.tensor([0.5, 2.0]) * ROUNDING
    assert are_equal(one, other).tolist() == [True, False]


def test_uniform_is_what_is_the_same_and_does_not_vary():
    assert fixed(NUMBERS).is_uniform([0]).tolist() == [[True, False]]
    value = known(torch.tensor([[True, False], [False, False]]), NUMBERS)
    assert value.is_uniform([0]).tolist() == [[False, False]]
    assert fixed(NUMBERS).is_uniform([0, 1]).tolist() == [[False]]


def test_rounding_is_relative_for_large_numbers():
    assert are_equal(torch.tensor(1e6, dtype=torch.float64), torch.tensor(1e6 + 1e-7)).item()
    assert not are_equal(torch.tensor(1.0).double(), torch.tensor(1.0 + 1e-6).double()).item()
    assert are_equal(torch.tensor(2), torch.tensor(2)).item()


def test_of_the_unknown_everything_varies():
    assert unknown([2, 3], torch.float32, torch.device("cpu")).varies.all()
