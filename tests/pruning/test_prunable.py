from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from lightning_prune.allocations import Global
from lightning_prune.granularities import Layer, Weight
from lightning_prune.pruning.prunable import find_prunable
from lightning_prune.pruning.recipe import Recipe


def net() -> nn.Sequential:
    return nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 2))


X = torch.zeros(1, 3)


def test_groups_prices_and_reasons_are_found() -> None:
    found = find_prunable(Recipe(0.5, exclude=["2"]), net(), X)
    assert [group.name for group in found.groups] == ["0"]
    assert found.left_alone == {"2": "`2` is excluded"}
    assert found.parameters == 3 * 4 + 4 + 4 * 6 + 6 + 6 * 2 + 2
    # The recording's batch may be larger than one: only ratios matter.
    prices = found.prices
    assert prices["0.weight"] == prices["2.weight"] == prices["4.weight"]
    assert found.macs == prices["0.weight"] * (12 + 24 + 12)


def test_single_weights_need_no_inputs() -> None:
    found = find_prunable(Recipe(0.5, granularity=Weight()), net(), None)
    assert [group.name for group in found.groups] == ["0.weight", "2.weight", "4.weight"]
    assert (found.prices, found.macs, found.examples) == (None, 0.0, [])


def test_groups_of_a_checkpoint_must_be_there() -> None:
    assert len(find_prunable(Recipe(0.5), net(), X, among=["2"]).groups) == 1
    with pytest.raises(ValueError, match="none of the name 'stem'"):
        find_prunable(Recipe(0.5), net(), X, among=["stem"])


@pytest.mark.parametrize(
    "last",
    [
        lambda: nn.Sequential(nn.Linear(3, 3), nn.Sigmoid()),
        lambda: nn.utils.parametrizations.spectral_norm(nn.Linear(3, 3)),
    ],
    ids=["a half stays", "zeros have no norm"],
)
def test_branches_that_zeros_do_not_make_zero_are_left_alone(
    last: Callable[[], nn.Module],
) -> None:
    class Residual(nn.Module):
        def __init__(self, *parts: nn.Module) -> None:
            super().__init__()
            self.f = nn.Sequential(*parts)

        def forward(self, x: Tensor) -> Tensor:
            return x + self.f(x)

    model = nn.Sequential(
        Residual(nn.Linear(3, 4), nn.Linear(4, 3)), Residual(nn.Linear(3, 3), last())
    )
    found = find_prunable(Recipe(0.5, granularity=Layer(), allocation=Global()), model, X)
    assert [group.name for group in found.groups] == ["0.f"]
    reason = "what it adds is not proved to be zero where its weights are"
    assert found.left_alone == {"1.f": reason}
