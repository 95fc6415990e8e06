"""What pruning holds beside a model between two updates."""

from __future__ import annotations

import pytest
import torch
import torchvision
from support.memory import storages
from torch import Tensor, nn

from lightning_prune.allocations import Uniform
from lightning_prune.criteria import Fisher, Gradient
from lightning_prune.granularities import Channel, Weight
from lightning_prune.pruning import BasePruner, Recipe, find_prunable


def held(model: nn.Module, recipe: Recipe, x: Tensor) -> float:
    """Return what is held, in bytes for each weight, with masks and scores of open steps."""

    def backward() -> None:
        model(x).sum().backward()

    backward()
    gradients = [p.grad for p in model.parameters()]  # only what Python knows of is counted
    before = storages()
    pruner = BasePruner(model, recipe, find_prunable(recipe, model, x))
    pruner.accumulate()
    pruner.update(recipe.sparsity)
    backward()
    pruner.accumulate()
    pruner.masks.apply_to_gradients()
    pruner.masks.apply()
    assert all(g is not None for g in gradients)
    new = sum(size for address, size in storages().items() if address not in before)
    return new / sum(p.numel() for p in model.parameters())


def layers() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(*[nn.Linear(1024, 1024, bias=False) for _ in range(6)])


@pytest.mark.parametrize("criterion", [Gradient(), Fisher()])
def test_of_single_weights_a_score_and_a_flag(criterion: Gradient | Fisher) -> None:
    recipe = Recipe(0.5, criterion=criterion, granularity=Weight())
    assert 4.9 < held(layers(), recipe, torch.randn(2, 1024)) < 5.2  # and the scratch


def test_of_channels_next_to_nothing() -> None:
    recipe = Recipe(0.5, criterion=Gradient(), granularity=Channel(), allocation=Uniform())
    torch.manual_seed(0)
    model = torchvision.models.resnet18(num_classes=10)
    assert held(model, recipe, torch.randn(2, 3, 64, 64)) < 0.02 * 4
