import pytest
import torch
from torch import nn

from lightning_prune.criteria import Gradient
from lightning_prune.criteria.evidence.accumulator import Accumulator


def scores(gradients):
    weights = [nn.Parameter(torch.randn_like(g)) for g in gradients]
    for weight, gradient in zip(weights, gradients, strict=True):
        weight.grad = gradient
    accumulator = Accumulator(weights, Gradient())
    accumulator.add()
    return accumulator.mean()


def test_equals_a_slow_loop():
    gradients = [torch.randn(3, 4), torch.randn(5)]
    total = sum(abs(g) for t in gradients for g in t.flatten().tolist())
    for out, gradient in zip(scores(gradients), gradients, strict=True):
        expected = [abs(g) / total for g in gradient.flatten().tolist()]
        assert out.flatten().tolist() == pytest.approx(expected, rel=1e-5)


def test_every_step_sums_to_one_whatever_its_scale():
    gradients = [torch.randn(3, 4), torch.randn(5)]
    for scale in (1e-6, 1.0, 1e6):
        total = sum(o.sum() for o in scores([g * scale for g in gradients]))
        assert total.item() == pytest.approx(1.0, rel=1e-5)


def test_a_dead_model_scores_zero():
    assert scores([torch.zeros(3)])[0].tolist() == [0.0, 0.0, 0.0]
