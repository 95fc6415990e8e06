"""The lesson: what a student is to take over from its teacher. It knows no Trainer."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn

from lightning_prune.callbacks.distillation.distances import (
    divergence,
    feature_distance,
    squared_error,
)
from lightning_prune.callbacks.distillation.watching import Watched, watching

Kind = Literal["kl", "mse"]


@dataclass(frozen=True)
class Lesson:
    """What is compared, and how.

    Args:
        kind: ``"kl"`` for logits of classes, ``"mse"`` for any outputs.
        temperature: of the softmaxes, greater than 0.
        dim: that of the classes.
        weight: of the distance between the outputs, in [0, 1].
        output: name of the module whose outputs are compared; empty for the called one.
        features: weights of the outputs of other modules, by name.
    """

    kind: Kind
    temperature: float
    dim: int
    weight: float
    output: str
    features: Mapping[str, float]

    @property
    def names(self) -> list[str]:
        """Names of the modules whose outputs are compared, each once."""
        return list(dict.fromkeys([*([self.output] if self.weight else []), *self.features]))

    def term(self, student: Watched, teacher: nn.Module) -> Tensor:
        """Return what the teacher adds to the loss of a step.

        Args:
            student: what was seen of it: one call at least.
            teacher: in eval mode; it is called as the student was.

        Returns:
            A scalar, differentiable in what the student has returned.

        Raises:
            ValueError: if the outputs of the two cannot be compared.
        """
        with torch.no_grad(), watching(teacher, self.names) as expected:
            for inputs in student.inputs:
                teacher(*inputs.args, **inputs.kwargs)
        terms = [
            weight * _mean_distance("features", name, student, expected, feature_distance)
            for name, weight in self.features.items()
        ]
        if self.weight:
            distance = _mean_distance("output", self.output, student, expected, self._distance)
            terms.append(self.weight * distance)
        return torch.stack(terms).sum()

    def _distance(self, student: Tensor, teacher: Tensor) -> Tensor:
        """Return the distance between two outputs."""
        if self.kind == "mse":
            return squared_error(student, teacher)
        return divergence(student, teacher, self.temperature, self.dim)


def _mean_distance(
    argument: str,
    name: str,
    student: Watched,
    teacher: Watched,
    distance: Callable[[Tensor, Tensor], Tensor],
) -> Tensor:
    """Return the mean over the calls of the distance between what a module returned."""
    calls = [[_tensor(argument, name, o) for o in w.outputs[name]] for w in (student, teacher)]
    shapes, expected = ([tuple(tensor.shape) for tensor in outputs] for outputs in calls)
    if not shapes or shapes != expected:
        raise ValueError(
            f"Expected `{argument}` to name modules that return the same shapes in the student "
            f"and in the teacher, but got {shapes} and {expected} for {name!r}. Leave it out, or "
            "name others; what runs inside of a compiled module is not seen."
        )
    return torch.stack([distance(*pair) for pair in zip(*calls, strict=True)]).mean()


def _tensor(argument: str, name: str, output: Any) -> Tensor:
    """Return the tensor to compare in what a module returned."""
    found = output.get("logits") if isinstance(output, Mapping) else output
    if isinstance(found, Tensor):
        return found
    raise ValueError(
        f"Expected `{argument}` to name modules that return a tensor, or a mapping with 'logits', "
        f"but got {type(output).__name__} from {name!r}. Name one within it."
    )
