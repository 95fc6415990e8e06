import pytest
import torch
from torch import nn

from lightning_prune.criteria import Snip
from lightning_prune.criteria.evidence.accumulator import Accumulator


def test_equals_the_derivative_by_a_mask_in_double_precision():
    layer = nn.Linear(4, 3).double()
    x = torch.randn(5, 4, dtype=torch.float64)
    mask = torch.ones(3, 4, dtype=torch.float64, requires_grad=True)
    loss = nn.functional.linear(x, layer.weight * mask, layer.bias).square().sum()
    (by_mask,) = torch.autograd.grad(loss, mask)
    expected = by_mask.abs() / by_mask.abs().sum()
    layer(x).square().sum().backward()
    accumulator = Accumulator([layer.weight], Snip())
    accumulator.add()
    assert accumulator.mean()[0].flatten().tolist() == pytest.approx(
        expected.flatten().tolist(), rel=1e-6
    )
