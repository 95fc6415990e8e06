import pytest
import torch

from lightning_prune.allocations import Uniform


def test_relative_ranks():
    scores = [torch.tensor([30.0, 10.0, 20.0, 40.0]), torch.tensor([0.2, 0.1])]
    ranks = [p.tolist() for p in Uniform().priorities(scores)]
    assert ranks == [[2.5 / 4, 0.5 / 4, 1.5 / 4, 3.5 / 4], [1.5 / 2, 0.5 / 2]]


def test_ties_are_ranked_by_index():
    assert Uniform().priorities([torch.ones(4)])[0].tolist() == [0.125, 0.375, 0.625, 0.875]


@pytest.mark.parametrize("fraction", [0.1, 0.25, 0.5, 0.77])
def test_a_cut_takes_the_same_fraction_of_every_group_within_one_unit(fraction):
    sizes = [7, 16, 33, 100]
    priorities = Uniform().priorities([torch.randn(n) * 10**i for i, n in enumerate(sizes)])
    for p, n in zip(priorities, sizes, strict=True):
        assert abs(int((p < fraction).sum()) - fraction * n) < 1
