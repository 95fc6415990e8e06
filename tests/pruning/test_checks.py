from typing import Any

import pytest
from torch import nn

from lightning_prune.allocations import Global
from lightning_prune.criteria import Magnitude
from lightning_prune.errors import TargetError
from lightning_prune.granularities import Channel
from lightning_prune.pruning.checks import check_arguments, check_kind, check_model
from lightning_prune.schedules import OneShot, Schedule


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(2, 2)


def test_models() -> None:
    check_model(Net(), ["head"], [])
    with pytest.raises(ValueError, match="Expected `exclude`"):
        check_model(Net(), None, ["tail"])
    with pytest.raises(TargetError, match="trainable"):
        check_model(Net().requires_grad_(False), None, [])


def check(sparsity: Any = 0.5, **changed: Any) -> None:
    arguments = {
        "criterion": Magnitude(),
        "granularity": Channel(),
        "allocation": Global(),
        "of": "parameters",
        "include": None,
        "exclude": (),
    }
    check_arguments(sparsity, **{**arguments, **changed})


@pytest.mark.parametrize("sparsity", [0, 0.0, 0.99])
def test_a_sparsity_lies_from_zero_to_below_one(sparsity: float) -> None:
    check(sparsity)


@pytest.mark.parametrize("patterns", [(), ["head"], ("a*", "b")])
def test_patterns_are_lists_of_strings(patterns: Any) -> None:
    check(include=patterns, exclude=patterns)


@pytest.mark.parametrize("sparsity", [-0.1, 1.0, float("nan"), float("inf")])
def test_a_sparsity_out_of_range_is_refused(sparsity: float) -> None:
    with pytest.raises(ValueError, match=r"Expected `sparsity` to be a fraction in \[0, 1\)"):
        check(sparsity)


@pytest.mark.parametrize(
    ("argument", "value", "message"),
    [
        ("sparsity", "0.5", "got '0.5'"),
        ("sparsity", None, "got None"),
        ("criterion", Magnitude, "got <class .* not a class or a name"),
        ("criterion", "Magnitude", "to be an object of Criterion, but got 'Magnitude'"),
        ("granularity", Channel, "to be an object of Granularity"),
        ("allocation", "Global", "to be an object of Allocation"),
        ("include", "head", r"Write \['head'\]"),
        ("include", [3], r"got \[3\]. Write each as a string"),
        ("exclude", None, "got None.*leave the argument out"),
    ],
)
def test_arguments_of_another_type_are_refused(argument: str, value: Any, message: str) -> None:
    with pytest.raises(TypeError, match=f"Expected `{argument}`.*{message}"):
        check(**{argument: value})


def test_of_is_one_of_three_words() -> None:
    check(of="macs")
    with pytest.raises(ValueError, match="one of parameters, macs, units, but got 'flops'"):
        check(of="flops")


def test_schedules_are_objects_too() -> None:
    check_kind("schedule", OneShot(epoch=1), Schedule)
    with pytest.raises(TypeError, match="Expected `schedule` to be an object of Schedule"):
        check_kind("schedule", 3, Schedule)
