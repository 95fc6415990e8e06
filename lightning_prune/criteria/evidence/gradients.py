"""Gradients, and what is a gradient of them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager
from typing import Any, ClassVar, Self

import torch
from torch import Tensor, nn
from typing_extensions import override

from lightning_prune.criteria.evidence.accumulator import Accumulator
from lightning_prune.criteria.evidence.base import Evidence, Subject
from lightning_prune.modules.kernels import twice_differentiable


class Gradients(Evidence):
    """The gradient of every weight; scores are averaged over the steps since the last update."""

    name: ClassVar[str] = "gradients"
    needs_data: ClassVar[bool] = True
    of_optimizers: ClassVar[bool] = True

    def __init__(self, subject: Subject) -> None:
        super().__init__(subject)
        self._accumulator: Accumulator | None = None

    @property
    @override
    def ready(self) -> bool:
        """Whether any step counts. Synchronises with the device."""
        return self._accumulator is not None and self._accumulator.ready

    @property
    @override
    def started(self) -> bool:
        """Whether any step was added."""
        return self._accumulator is not None

    @property
    @override
    def survives_compaction(self) -> bool:
        """Whether no step was added since the last update."""
        return self._accumulator is None

    @override
    def add(
        self,
        parameters: Iterable[Tensor] | None = None,
        grad_scale: float | Tensor | None = None,
    ) -> None:
        """Add the scores of one step."""
        if self._accumulator is None:
            self._accumulator = self._new_accumulator()
        self._accumulator.add(parameters, grad_scale)

    @override
    def reset(self) -> None:
        """Forget every step."""
        self._accumulator = None

    @override
    def observed(self) -> list[Tensor]:
        """Return the average scores, which `write` made in every step."""
        return [] if self._accumulator is None else self._accumulator.mean()

    @override
    def scores(self) -> list[Tensor]:
        """Return the averages of the scores of units, or those of the scores of weights."""
        subject, means = self.subject, self.observed()
        if subject.criterion.whole_units:
            return means
        return subject.unit_scores(dict(zip(subject.weights, means, strict=True)))

    @override
    def state_dict(self) -> dict[str, Any] | None:
        """Return the sums."""
        return None if self._accumulator is None else self._accumulator.state_dict()

    @override
    def load_state_dict(self, state: dict[str, Any] | None) -> None:
        """Take over the sums."""
        self.reset()
        if state is not None:
            self._accumulator = self._new_accumulator()
            self._accumulator.load_state_dict(state)

    @override
    def adopt(self, other: Self) -> None:
        """Take over the sums of the same weights."""
        if other._accumulator is not None:
            self._accumulator = self._new_accumulator()
            self._accumulator.adopt(other._accumulator)

    def _new_accumulator(self) -> Accumulator:
        """Return an accumulator over weights, or over units where they are scored as wholes."""
        subject = self.subject
        weights = list(subject.weights.values())
        if not subject.criterion.whole_units:
            return Accumulator(weights, subject.criterion)

        def fold(views: Sequence[Tensor]) -> list[Tensor]:
            return subject.unit_scores(dict(zip(subject.weights, views, strict=True)))

        return Accumulator(weights, subject.criterion, fold, subject.units)


class Curvature(Gradients):
    """The product of Hessian and gradient; it takes the loss itself, so not in a training."""

    name: ClassVar[str] = "curvature"
    in_training: ClassVar[bool] = False

    @override
    def kernels(self, model: nn.Module) -> AbstractContextManager[None]:
        """Return a context in which a loss has second derivatives."""
        return twice_differentiable(model)

    @override
    def differentiate(self, value: Tensor) -> None:
        """Leave in ``.grad`` half of the derivative of the gradient's squared norm: H g."""
        parameters = [p for p in self.subject.model.parameters() if p.requires_grad]
        found = torch.autograd.grad(value, parameters, create_graph=True, allow_unused=True)
        gradients = [g for g in found if g is not None]
        norm = torch.stack([g.square().sum() for g in gradients]).sum() / 2.0
        if norm.requires_grad:  # that of a linear loss does not
            norm.backward()
