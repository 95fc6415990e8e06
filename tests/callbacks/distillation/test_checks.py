from __future__ import annotations

import pytest
from torch import nn

from lightning_prune.callbacks.distillation.checks import (
    check_apart,
    check_teacher,
    feature_weights,
)


@pytest.mark.parametrize("teacher", ["dense", nn.Linear(2, 2)])
def test_the_word_and_modules_are_teachers(teacher: object) -> None:
    check_teacher(teacher)


@pytest.mark.parametrize("teacher", ["best.ckpt", None, nn.Linear, {}])
def test_others_are_none(teacher: object) -> None:
    with pytest.raises((ValueError, TypeError), match=r"Expected `teacher` to be 'dense' or an nn"):
        check_teacher(teacher)


def test_a_teacher_that_is_trained_is_refused() -> None:
    student = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    check_apart(nn.Linear(2, 2), student)
    for teacher in (student, student[1]):
        with pytest.raises(ValueError, match=r"Expected `teacher` to be a module of its own"):
            check_apart(teacher, student)


@pytest.mark.parametrize(
    ("features", "weights"),
    [(None, {}), (["a", "b"], {"a": 1.0, "b": 1.0}), ({"a": 0.5}, {"a": 0.5})],
)
def test_features_are_weights_by_name(features: object, weights: dict[str, float]) -> None:
    assert feature_weights(features, 0.5) == weights


@pytest.mark.parametrize("features", ["a", 3, {"a": 0.0}, {"a": "1"}, {3: 1.0}, [""], [None]])
def test_other_features_are_refused(features: object) -> None:
    with pytest.raises((ValueError, TypeError), match=r"Expected `features.*but got"):
        feature_weights(features, 0.5)


def test_nothing_to_learn_is_refused() -> None:
    assert feature_weights(["a"], 0.0) == {"a": 1.0}
    with pytest.raises(ValueError, match=r"Expected `weight` to be greater than 0 without"):
        feature_weights(None, 0.0)
