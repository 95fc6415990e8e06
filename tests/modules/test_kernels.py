"""Models in eval mode have gradients, and second ones."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import lightning_prune as lp
from lightning_prune.modules.kernels import differentiable, flatten_recurrent, twice_differentiable


def test_attention_has_second_derivatives() -> None:
    model = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True).eval()
    x = torch.randn(2, 3, 8, requires_grad=True)
    with twice_differentiable(model):
        (slope,) = torch.autograd.grad(model(x).square().sum(), x, create_graph=True)
        slope.square().sum().backward()
    assert x.grad is not None
    assert x.grad.any()


def test_curvature_is_read_through_attention() -> None:
    torch.manual_seed(0)
    layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
    model, x = nn.Sequential(layer, nn.Linear(8, 2)), torch.randn(4, 3, 8)
    report = lp.prune(
        model,
        x,
        sparsity=0.3,
        criterion=lp.Grasp(),
        batches=[x],
        loss=lambda model, batch: model(batch).square().mean(),
    )
    assert report.sparsity > 0


@pytest.mark.parametrize("enabled", [True, False])
def test_the_setting_of_cudnn_comes_back(enabled: bool) -> None:
    before = torch.backends.cudnn.enabled
    torch.backends.cudnn.enabled = enabled
    try:
        with pytest.raises(KeyError), differentiable(nn.LSTM(2, 3)):
            raise KeyError
        assert torch.backends.cudnn.enabled == enabled
    finally:
        torch.backends.cudnn.enabled = before


def test_recurrent_layers_are_flattened_in_their_new_size(monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = []

    def flatten(module: nn.RNNBase) -> None:
        sizes.append((module.hidden_size, module.weight_hh_l0.shape[1]))

    model = nn.ModuleDict({"rnn": nn.GRU(4, 8, batch_first=True), "head": nn.Linear(8, 2)})

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.parts = model

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.parts["head"](self.parts["rnn"](x)[0][:, -1])

    net, x = Net(), torch.randn(3, 5, 4)
    lp.prune(net, x, sparsity=0.5, criterion=lp.Magnitude())
    monkeypatch.setattr(nn.GRU, "flatten_parameters", flatten)
    assert lp.compact(net, x, latency=False).removed > 0
    assert sizes
    assert all(attribute == weights < 8 for attribute, weights in sizes)


def test_weights_of_recurrent_layers_keep_their_identity() -> None:
    model = nn.Sequential(nn.GRU(2, 3))
    before = [id(p) for p in model.parameters()]
    flatten_recurrent(model)
    assert [id(p) for p in model.parameters()] == before
