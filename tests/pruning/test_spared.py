"""No direction of a weight norm becomes zero: there would be no number left."""

import pytest
import torch
from torch import nn

from lightning_prune.criteria import Magnitude
from lightning_prune.granularities import NM, Block, Weight
from lightning_prune.pruning import BasePruner, Recipe, find_prunable, prune

X = torch.randn(4, 6)
weight_norm = nn.utils.parametrizations.weight_norm


def net(dim: int | None = 0) -> nn.Sequential:
    layers = [weight_norm(nn.Linear(6, 8), dim=dim), nn.ReLU(), nn.Linear(8, 2)]
    return nn.Sequential(*layers).eval()


def direction(model: nn.Module) -> torch.Tensor:
    return model[0].parametrizations.weight.original1.detach()


@pytest.mark.parametrize("dim", [0, 1, None])
@pytest.mark.parametrize("granularity", [Weight(), Block(2, 2)])
def test_the_largest_weight_of_every_direction_stays(dim, granularity):
    torch.manual_seed(0)
    model = net(dim)
    with torch.no_grad():
        direction(model).mul_(1e-4)  # all of it would go
    largest = direction(model).abs()
    largest = largest.flatten().argmax() if dim is None else largest.argmax(1 - dim)
    options = {"sparsity": 0.6, "criterion": Magnitude(), "granularity": granularity}
    prune(model, include=["0"], **options)
    kept = direction(model) != 0
    for index, place in enumerate([largest] if dim is None else largest):
        row = kept.flatten() if dim is None else kept.select(dim, index)
        assert row[place] if isinstance(granularity, Weight) else row.any()
    assert torch.isfinite(model(X)).all()


def test_no_more_than_that_stays():
    torch.manual_seed(0)
    model = net()
    with torch.no_grad():
        direction(model)[1:].mul_(1e-4)
    report = prune(model, include=["0"], sparsity=0.85, criterion=Magnitude(), granularity=Weight())
    assert (direction(model)[1:] != 0).sum(1).tolist() == [1] * 7
    assert report.sparsity < 0.85


def test_patterns_stay_patterns():
    torch.manual_seed(0)
    model = net(1)
    prune(model, include=["0"], sparsity=0.5, criterion=Magnitude(), granularity=NM(1, 2))
    assert ((direction(model) != 0).view(-1, 2).sum(1) == 1).all()


def test_what_was_removed_stays_so():
    torch.manual_seed(0)
    model = net()
    recipe = Recipe(0.8, criterion=Magnitude(), granularity=Weight(), include=("0",))
    pruner = BasePruner(model, recipe, find_prunable(recipe, model, None))
    pruner.update(0.5)
    before = direction(model) != 0
    pruner.update(0.8)
    after = direction(model) != 0
    assert (after <= before).all()
    assert after.any(1).all()
