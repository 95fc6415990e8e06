import torch

from lightning_prune.units.weight_mask import WeightMask


def test_lines_combine():
    rows, columns = torch.tensor([True, False]), torch.tensor([True, True, False])
    single = torch.tensor([False, True, True, True, True, True])
    mask = WeightMask(torch.Size([2, 3]), {0: rows, 1: columns, -1: single})
    assert mask.whole().tolist() == [[False, True, False], [False, False, False]]
    assert mask.removes


def test_one_line_is_spread():
    mask = WeightMask(torch.Size([2, 3]), {0: torch.tensor([True, False])})
    assert mask.whole().tolist() == [[True] * 3, [False] * 3]


def test_a_mask_that_keeps_everything():
    assert not WeightMask(torch.Size([2, 3]), {0: torch.tensor([True, True])}).removes
