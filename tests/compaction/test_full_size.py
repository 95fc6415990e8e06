"""A compact model's weights in the full size: the masked model that it stands for."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

import lightning_prune as lp
from lightning_prune.compaction.full_size import FullSize
from lightning_prune.modules.twin import clone

X = torch.randn(4, 3, 8, 8)


def net() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 6, 3), nn.ReLU()
    )


def test_the_masked_model_comes_back_bit_for_bit() -> None:
    model = net()
    lp.prune(model, X, sparsity=0.5, criterion=lp.Magnitude())
    masked, full = copy.deepcopy(model), FullSize(model)
    lp.compact(model, X, latency=False)
    back = full.masked(model)
    for name, tensor in masked.state_dict().items():
        assert torch.equal(tensor, back.state_dict()[name]), name
    assert torch.equal(back.eval()(X), masked.eval()(X))
    assert back.training == model.training or not back.training


def test_no_parameters_are_kept() -> None:
    model = net()
    full = FullSize(model)
    zeros = full.zeros()
    assert [p.shape for p in zeros.parameters()] == [p.shape for p in model.parameters()]
    assert not any(p.any() for p in zeros.parameters())


def test_what_was_trained_since_is_in_it() -> None:
    model = net()
    lp.prune(model, X, sparsity=0.5, criterion=lp.Magnitude())
    full = FullSize(model)
    lp.compact(model, X, latency=False)
    with torch.no_grad():
        model[0].bias.add_(1.0)
    back = full.masked(model)
    assert torch.allclose(back.train()(X), model.train()(X), atol=1e-6)


@pytest.mark.parametrize(
    "normed", [nn.utils.parametrizations.weight_norm, nn.utils.weight_norm], ids=["new", "older"]
)
@pytest.mark.filterwarnings("ignore:`torch.nn.utils.weight_norm` is deprecated")
def test_the_direction_of_a_weight_that_is_gone_is_a_direction(normed) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(normed(nn.Linear(8, 16)), nn.ReLU(), normed(nn.Linear(16, 3)))
    x = torch.randn(4, 8)
    lp.prune(model, x, sparsity=0.5, criterion=lp.Magnitude())
    masked, full = clone(model), FullSize(model)
    lp.compact(model, x, latency=False)
    assert torch.allclose(full.masked(model)(x), masked(x), atol=1e-6)


def test_inputs_that_are_gone_are_gone_in_directions_that_are_gone_too() -> None:
    torch.manual_seed(0)
    normed = nn.utils.parametrizations.weight_norm(nn.Linear(16, 12))
    model = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), normed, nn.ReLU(), nn.Linear(12, 3))
    x = torch.randn(4, 8)
    lp.prune(model, x, sparsity=0.5, criterion=lp.Magnitude(), allocation=lp.Uniform())
    full = FullSize(model)
    lp.compact(model, x, latency=False)
    back = full.masked(model)
    lp.compact(back, x, latency=False)
    sizes = {name: tensor.shape for name, tensor in model.state_dict().items()}
    assert {name: tensor.shape for name, tensor in back.state_dict().items()} == sizes
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, back.state_dict()[name]), name
