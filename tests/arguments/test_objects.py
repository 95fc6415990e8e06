from typing import Any

import pytest
import torch
from torch import nn

from lightning_prune.arguments import check_function, check_kind, check_list, check_model
from lightning_prune.schedules import OneShot, Schedule


@pytest.mark.parametrize("patterns", [(), ["head"], ("a*", "b")])
def test_patterns_are_lists_of_strings(patterns: Any) -> None:
    assert check_list("include", patterns) is None


@pytest.mark.parametrize(
    ("patterns", "message"),
    [
        ("head", r"Write \['head'\]"),
        ([3], r"got \[3\]. Write each as a string"),
        (None, "got None.*leave the argument out"),
    ],
)
def test_other_patterns_are_refused(patterns: Any, message: str) -> None:
    with pytest.raises(TypeError, match=f"Expected `include` to be a list.*{message}"):
        check_list("include", patterns)


@pytest.mark.parametrize("value", [OneShot, "OneShot", 3])
def test_objects_are_not_classes_nor_names(value: Any) -> None:
    assert check_kind("schedule", OneShot(epoch=1), Schedule) is None
    with pytest.raises(TypeError, match="Expected `schedule` to be an object of Schedule"):
        check_kind("schedule", value, Schedule)


@pytest.mark.parametrize(
    ("value", "got"),
    [(nn.Linear, "Linear"), ({}, "an object of dict"), (torch.zeros(1), "an object of Tensor")],
)
def test_a_model_is_a_module(value: Any, got: str) -> None:
    assert check_model(nn.Linear(1, 1)) is None
    with pytest.raises(TypeError, match=f"Expected `model` to be an nn.Module, but got {got}"):
        check_model(value)


def test_a_function_can_be_called() -> None:
    assert check_function("loss", print, "loss(model, batch)") is None
    with pytest.raises(TypeError, match=r"`loss` to be a function, but got 3. It is called as"):
        check_function("loss", 3, "loss(model, batch)")
