import pytest
import torch
from torch import nn

from lightning_prune import Channel, Magnitude, Uniform
from lightning_prune.pruning import BasePruner, Recipe, find_prunable
from lightning_prune.pruning.release import SCALE, restart

MASK = torch.tensor([[True, False, False], [True, True, False]])


def restarted(seed: int) -> torch.Tensor:
    weights = {"a": nn.Parameter(torch.tensor([[1.0, 0, 0], [2.0, 3.0, 0]]))}
    restart(weights, {"a": MASK}, seed)
    return weights["a"].detach()


def test_released_weights_are_small_copies_of_kept_ones() -> None:
    weight = restarted(3)
    assert weight[MASK].tolist() == [1.0, 2.0, 3.0]
    assert set((weight[~MASK] / SCALE).round(decimals=5).tolist()) <= {1.0, 2.0, 3.0}


def test_the_seed_decides() -> None:
    assert torch.equal(restarted(3), restarted(3))
    assert any(not torch.equal(restarted(3), restarted(seed)) for seed in range(4, 9))


def test_where_nothing_is_kept_nothing_starts_again() -> None:
    weights = {"a": nn.Parameter(torch.zeros(2, 3))}
    restart(weights, {"a": torch.zeros(2, 3, dtype=torch.bool)}, 0)
    assert not weights["a"].any()


@pytest.mark.parametrize("norm", [nn.Identity(), nn.BatchNorm1d(16)], ids=["", "batch norm"])
def test_released_channels_get_gradients_on_every_side(norm: nn.Module) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 16), norm, nn.SiLU(), nn.Linear(16, 3))
    for parameter in model.parameters():
        nn.init.normal_(parameter)
    x = torch.randn(8, 4)
    recipe = Recipe(0.5, Magnitude(), Channel(), Uniform(), "units", None, ())
    pruner = BasePruner(model, recipe, find_prunable(recipe, model, x))
    pruner.update(0.5)
    masks = dict(pruner.masks)
    assert len(masks) == (5 if len(list(norm.parameters())) else 3)
    pruner.masks.release()
    assert (pruner.sparsity, pruner.masks) == (0.0, {})
    model(x).square().sum().backward()
    for name, mask in masks.items():
        weight = model.get_parameter(name)
        assert weight.grad is not None
        assert weight[~mask].all()
        if not (name == "0.bias" and len(masks) == 5):  # a batch norm takes the mean away
            assert weight.grad[~mask].all()
