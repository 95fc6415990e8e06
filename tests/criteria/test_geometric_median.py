import pytest
import torch

from lightning_prune.criteria import GeometricMedian


def test_equals_a_slow_loop():
    rows = [torch.randn(6, 9), torch.randn(6, 1)]
    every = torch.cat(rows, 1).double()
    expected = [
        sum((every[u] - every[v]).square().sum().sqrt().item() for v in range(6)) for u in range(6)
    ]
    scores = GeometricMedian().score_units(rows)
    assert scores.tolist() == pytest.approx(expected, rel=1e-6)


def test_the_unit_in_the_middle_goes_first():
    rows = [torch.tensor([[0.0], [10.0], [5.0], [4.9], [20.0]])]
    assert GeometricMedian().score_units(rows).argmin() == 2
