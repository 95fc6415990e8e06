"""Where tensors are zero."""

import pytest
import torch

from lightning_prune.units.zeros import is_zero, where_not_zero

SHAPES = [(7,), (4, 5), (4, 1), (1, 5), (3, 4, 5), (3, 4, 2, 2), (0, 3)]


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.int64, torch.bool], ids=str)
def test_lines_are_those_that_any_finds(shape, dtype):
    generator = torch.Generator().manual_seed(0)
    tensor = torch.randint(-1, 2, shape, generator=generator).to(dtype)
    tensor[tensor.shape[0] // 2 :] = 0
    for dim in range(len(shape)):
        others = [d for d in range(len(shape)) if d != dim]
        expected = (tensor != 0).any(others) if others else tensor != 0
        assert torch.equal(where_not_zero(tensor, dim), expected)
        assert torch.equal(where_not_zero(tensor.movedim(dim, 0), 0), expected)
    assert torch.equal(where_not_zero(tensor, -1), (tensor != 0).flatten())


def test_what_is_no_number_is_not_zero():
    tensor = torch.tensor([[0.0, torch.nan], [0.0, 0.0]])
    assert where_not_zero(tensor, 0).tolist() == [True, False]
    assert where_not_zero(tensor, 1).tolist() == [False, True]
    assert not is_zero(tensor)


def test_a_last_number_counts():
    tensor = torch.zeros(1000)
    assert is_zero(tensor)
    tensor[-1] = -1
    assert not is_zero(tensor)
