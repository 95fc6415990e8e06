import pytest
import torch

from lightning_prune.criteria import Lamp


def test_equals_a_slow_loop():
    weights = [torch.randn(4, 6), torch.randn(5)]
    out = [torch.empty_like(w) for w in weights]
    Lamp().write(out, weights, [])
    for score, weight in zip(out, weights, strict=True):
        squares = [w * w for w in weight.double().flatten().tolist()]
        expected = [w / sum(v for v in squares if v >= w) for w in squares]
        assert score.flatten().tolist() == pytest.approx(expected, rel=1e-6)


def test_the_largest_of_every_layer_scores_one():
    out = [torch.empty(100), torch.empty(7)]
    Lamp().write(out, [torch.randn(100), 1e-4 * torch.randn(7)], [])
    assert [o.max().item() for o in out] == [1.0, 1.0]
