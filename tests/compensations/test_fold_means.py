"""Means of removed units in biases."""

import torch
from torch import nn

import lightning_prune as lp


def test_a_unit_that_never_varies_goes_without_a_trace():
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 2))
    with torch.no_grad():
        net[0].weight[1] = 0
        net[0].bias[1] = 0.3  # small, so that it is removed
        net[2].weight[:, 1] *= 0.01
    x = torch.randn(20, 4)
    before = net(x)
    options = {"of": "units", "criterion": lp.Magnitude(), "batches": [x]}
    report = lp.prune(net, x, sparsity=0.3, compensation=lp.FoldMeans(), **options)
    assert [group.removed for group in report.groups] == [1]
    assert torch.allclose(net(x), before, atol=1e-6)
    assert report.compensated is not None
    assert report.compensated.errors == {"2.weight": None}


def test_a_reader_that_takes_no_constant_is_named():
    net = nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 2, bias=False))
    x = torch.randn(20, 4)
    options = {"of": "units", "criterion": lp.Magnitude(), "batches": [x]}
    weights = net[2].weight.detach().clone()
    report = lp.prune(net, x, sparsity=0.3, compensation=lp.FoldMeans(), **options)
    assert report.compensated is not None
    assert report.compensated.skipped == {
        "2.weight": "it has neither a bias nor a batch norm behind it"
    }
    kept = net[2].weight != 0
    assert torch.equal(net[2].weight[kept], weights[kept])
