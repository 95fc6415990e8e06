import pytest
import torch
from torch import nn

from lightning_prune.criteria import Wanda
from lightning_prune.granularities import NM, Weight
from lightning_prune.pruning import prune


def test_removes_the_lowest_by_a_slow_loop():
    model = nn.Sequential(nn.Linear(4, 3, bias=False))
    batches = torch.randn(5, 6, 4) * torch.tensor([1.0, 10.0, 0.1, 3.0])
    weight = model[0].weight.detach().double()
    expected = torch.zeros(3, 4, dtype=torch.float64)
    for i in range(3):
        for j in range(4):
            squares = [x * x for x in batches[..., j].double().flatten().tolist()]
            expected[i, j] = abs(weight[i, j]) * (sum(squares) / len(squares)) ** 0.5
    prune(
        model,
        sparsity=5 / 12,
        criterion=Wanda(),
        granularity=Weight(),
        batches=batches,
        loss=lambda m, batch: m(batch).sum(),
    )
    gone = torch.nonzero(model[0].weight.flatten() == 0).flatten().tolist()
    assert set(gone) == set(expected.flatten().argsort()[:5].tolist())


def test_two_of_four_are_compared_within_each_output():
    model = nn.Sequential(nn.Linear(4, 8, bias=False))
    batches = torch.randn(2, 6, 4) * torch.tensor([1.0, 10.0, 0.1, 3.0])
    norms = batches.flatten(0, 1).square().mean(0).sqrt()
    expected = (model[0].weight.detach().abs() * norms).argsort(1)[:, 2:].sort(1).values
    prune(
        model,
        sparsity=0.5,
        criterion=Wanda(),
        granularity=NM(2, 4),
        batches=batches,
        loss=lambda m, batch: m(batch).sum(),
    )
    kept = torch.stack([row.nonzero().flatten() for row in model[0].weight])
    assert torch.equal(kept, expected)


def test_scores():
    out = [torch.empty(2, 2)]
    Wanda().write(out, [torch.tensor([[1.0, -2.0], [0.0, 4.0]])], [torch.tensor([[4.0, 9.0]])])
    assert out[0].flatten().tolist() == pytest.approx([2.0, 6.0, 0.0, 12.0])
