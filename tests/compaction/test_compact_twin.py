"""The compact twin is as small as compaction makes a model, and leaves the model alone."""

from __future__ import annotations

import logging

import pytest
import torch
from torch import Tensor, nn

import lightning_prune as lp
from lightning_prune.compaction.compact_twin import compact_twin
from lightning_prune.modules.inputs import ExampleInputs

X = ExampleInputs((torch.randn(2, 3, 8, 8),))


class Net(nn.Module):
    """A residual branch between convolutions."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 16, 3, padding=1)
        self.branch = nn.Sequential(
            nn.Conv2d(16, 12, 3, padding=1), nn.ReLU(), nn.Conv2d(12, 16, 1)
        )
        self.head = nn.Linear(16, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        x = x + self.branch(x)
        return self.head(x.mean((2, 3)))


def masked(sparsity: float = 0.5) -> nn.Module:
    torch.manual_seed(0)
    model = Net()
    lp.prune(model, X, sparsity=sparsity, criterion=lp.Magnitude(), granularity=lp.Channel())
    return model


def shapes(model: nn.Module) -> dict[str, torch.Size]:
    return {name: parameter.shape for name, parameter in model.named_parameters()}


def test_it_is_as_small_as_the_compact_model() -> None:
    model = masked()
    small = compact_twin(model, X)
    lp.compact(model, X, latency=False)
    assert shapes(small) == shapes(model)


def test_branches_that_add_nothing_go_as_well() -> None:
    model = Net()
    with torch.no_grad():
        for parameter in model.branch.parameters():
            parameter.zero_()
    small = compact_twin(model, X)
    assert not small.branch[0].weight.numel()
    assert model.branch[0].weight.numel()


def test_the_model_stays_as_it_is() -> None:
    model = masked().train()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    parameters, kinds = list(model.parameters()), [type(m) for m in model.modules()]
    model.stem.weight.grad = torch.ones_like(model.stem.weight)
    compact_twin(model, X)
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    assert all(now is then for now, then in zip(model.parameters(), parameters, strict=True))
    assert [type(m) for m in model.modules()] == kinds
    assert model.training
    assert bool(model.stem.weight.grad.all())


def test_a_coupling_of_before_serves_later_masks() -> None:
    model = masked(0.2)
    coupling = lp.couple(model, X)
    first = shapes(compact_twin(model, X, coupling=coupling))
    lp.prune(model, X, sparsity=0.6, criterion=lp.Magnitude(), granularity=lp.Channel())
    second = shapes(compact_twin(model, X, coupling=coupling))
    assert second == shapes(compact_twin(model, X))
    assert sum(s.numel() for s in second.values()) < sum(s.numel() for s in first.values())


def test_dead_units_stay_for_a_multiple() -> None:
    model = masked()
    exact, rounded = compact_twin(model, X), compact_twin(model, X, round_to=4)
    for name, shape in shapes(rounded).items():
        if name.endswith("weight") and name != "head.weight":
            assert shape[0] % 4 == 0
            assert 0 <= shape[0] - shapes(exact)[name][0] < 4
    expected, obtained = exact(*X.args), rounded(*X.args)
    torch.testing.assert_close(obtained, expected, atol=1e-5, rtol=1e-5)


class Literal(Net):
    """Its code knows the width of the branch in a way that nothing can correct."""

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        y = self.branch[1](self.branch[0](x))
        if y.shape[1] != 12:
            raise RuntimeError("expects 12 channels")
        return self.head((x + self.branch[2](y)).mean((2, 3)))


def test_what_does_not_run_smaller_stays_and_nothing_is_said(
    caplog: pytest.LogCaptureFixture,
) -> None:
    model = Literal()
    with torch.no_grad():
        model.branch[0].weight[:4] = 0
        model.branch[0].bias[:4] = 0
        model.stem.weight[:4] = 0
        model.stem.bias[:4] = 0
        model.branch[2].weight[:4] = 0
        model.branch[2].bias[:4] = 0
    with caplog.at_level(logging.WARNING):
        small = compact_twin(model, X)
    small(*X.args)
    assert small.branch[0].out_channels == 12
    assert small.stem.out_channels == 12
    assert not caplog.records
