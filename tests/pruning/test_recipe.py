from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from lightning_prune.allocations import Global
from lightning_prune.criteria import Magnitude
from lightning_prune.errors import TargetError
from lightning_prune.granularities import Channel, Weight
from lightning_prune.pruning import BasePruner, Recipe, find_prunable

X = torch.randn(2, 4)


def recipe(sparsity: Any = 0.5, **changed: Any) -> Recipe:
    options: dict[str, Any] = {
        "criterion": Magnitude(),
        "granularity": Channel(),
        "allocation": Global(),
        "of": "parameters",
        "include": None,
        "exclude": (),
    }
    return Recipe(sparsity, **{**options, **changed})


def net() -> nn.Sequential:
    return nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 6), nn.ReLU(), nn.Linear(6, 2))


@pytest.mark.parametrize(
    ("argument", "value", "error"),
    [
        ("sparsity", 1.0, ValueError),
        ("criterion", Magnitude, TypeError),
        ("granularity", "Channel", TypeError),
        ("allocation", None, TypeError),
        ("of", "flops", ValueError),
        ("include", "head", TypeError),
        ("exclude", None, TypeError),
    ],
)
def test_wrong_options_are_refused_at_once(argument: str, value: Any, error: type) -> None:
    with pytest.raises(error, match=f"Expected `{argument}`"):
        recipe(**{argument: value})


def test_single_weights_need_inputs_only_to_count_macs() -> None:
    assert recipe().needs_inputs
    assert not recipe(granularity=Weight()).needs_inputs
    assert recipe(granularity=Weight(), of="macs").needs_inputs


def test_patterns_must_name_a_module() -> None:
    assert recipe(include=["2"], exclude=["0"]).check(net()) is None
    with pytest.raises(ValueError, match=r"Expected `exclude`.*'tail'"):
        recipe(exclude=["tail"]).check(net())


def test_something_must_be_trainable() -> None:
    with pytest.raises(TargetError, match="trainable"):
        recipe().check(net().requires_grad_(False))


def pruner_of(recipe: Recipe) -> BasePruner:
    model = net()
    return BasePruner(model, recipe, find_prunable(recipe, model, X))


def test_the_pruner_sees_what_is_selected() -> None:
    pruner = pruner_of(recipe(exclude=["2"]))
    assert [group.name for group in pruner.masks.groups] == ["0"]
    assert pruner.report(0.0).left_alone == {"2": "`2` is excluded"}


def test_a_target_out_of_reach_names_the_maximum() -> None:
    # The last unit of either layer stays: 1 * 5 + 1 * (1 + 1) + 1 * 2 of 40 + 54 + 12 elements.
    with pytest.raises(TargetError, match=r"at most 0\.9150 here, but got 0\.99"):
        pruner_of(recipe(0.99))


def test_a_number_of_numpy_is_the_same_recipe() -> None:
    assert repr(recipe(np.float32(0.5))) == repr(recipe(0.5))
