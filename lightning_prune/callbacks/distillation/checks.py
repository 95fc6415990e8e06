"""What `Distillation` refuses: teachers that are none, weights that are none."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from torch import nn

from lightning_prune.arguments import check_name, check_positive


def check_teacher(teacher: object) -> None:
    """Refuse what is no teacher.

    Raises:
        ValueError: if it is another word.
        TypeError: if it is of another type.
    """
    if teacher != "dense" and not isinstance(teacher, nn.Module):
        error = ValueError if isinstance(teacher, str) else TypeError
        raise error(
            f"Expected `teacher` to be 'dense' or an nn.Module, but got {teacher!r}. Load the "
            "weights of a checkpoint into a module, and pass that."
        )


def check_apart(teacher: nn.Module, student: nn.Module) -> None:
    """Refuse a teacher that is trained.

    Raises:
        ValueError: if the two share a parameter.
    """
    trained = {id(parameter) for parameter in student.parameters()}
    if any(id(parameter) in trained for parameter in teacher.parameters()):
        raise ValueError(
            f"Expected `teacher` to be a module of its own, but got {type(teacher).__name__} with "
            "parameters of the module that is trained. Pass 'dense', or a deep copy."
        )


def feature_weights(features: object, weight: float) -> dict[str, float]:
    """Return the weights of features by name.

    Args:
        features: names, or weights by name, or None.
        weight: that of the outputs.

    Raises:
        ValueError: if a weight is out of range, or nothing weighs anything.
        TypeError: if they are of another type.
    """
    if features is None:
        features = {}
    pairs: Iterable[tuple[Any, Any]]
    if isinstance(features, Mapping):
        pairs = features.items()
    elif isinstance(features, (list, tuple)):
        pairs = [(name, 1.0) for name in features]
    else:
        raise TypeError(
            f"Expected `features` to be a list of names, or weights by name, but got {features!r}. "
            "Write ['layer1'] or {'layer1': 0.5}."
        )
    weights: dict[str, float] = {}
    for name, value in pairs:
        check_name("features", name, "It is the name of a module.")
        check_positive(f"features[{name!r}]", value, "It weighs the distance of this feature.")
        weights[name] = value
    if not weight and not weights:
        raise ValueError(
            "Expected `weight` to be greater than 0 without `features`, but got 0. Nothing would "
            "be learned."
        )
    return weights
