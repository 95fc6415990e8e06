import pytest
import torch

from lightning_prune.allocations import Uniform


@pytest.mark.parametrize("fraction", [0.1, 0.25, 0.5, 0.77])
def test_a_cut_takes_the_same_fraction_of_every_group_within_one_unit(fraction):
    sizes = [7, 16, 33, 100]
    scores = [torch.randn(n) * 10**i for i, n in enumerate(sizes)]
    for p, n in zip(Uniform().priorities(scores, [], {}), sizes, strict=True):
        assert abs(int((p < fraction).sum()) - fraction * n) < 1
