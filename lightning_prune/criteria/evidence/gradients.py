"""Gradients, and what is a gradient of them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager
from typing import Any, ClassVar, Self

import torch
from torch import Tensor, nn
from typing_extensions import override

from lightning_prune.criteria.evidence.accumulator import Accumulator
from lightning_prune.criteria.evidence.base import Evidence, Subject
from lightning_prune.criteria.evidence.line_accumulator import LineAccumulator, saves_by_lines
from lightning_prune.criteria.evidence.unit_accumulator import UnitAccumulator
from lightning_prune.modules.kernels import twice_differentiable
from lightning_prune.modules.tiles import Piece
from lightning_prune.units.group import Axis


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
        """Return the averages of the scores of units, or of what these are made of."""
        subject, means = self.subject, self.observed()
        if subject.criterion.whole_units:
            return means
        if isinstance(self._accumulator, LineAccumulator) and subject.unit_sums is not None:
            return subject.unit_sums(dict(zip(self._axes, means, strict=True)))
        return subject.unit_scores(dict(zip(subject.weights, means, strict=True)))

    @override
    @torch.no_grad()
    def weight_scores(self) -> Callable[[Piece], Tensor]:
        """Return what gives average scores."""
        accumulator = self._accumulator
        if accumulator is None:
            raise ValueError("Expected a step before scores are asked for, but got none.")
        return accumulator.mean_of

    @property
    def _axes(self) -> list[Axis]:
        """The axes along which scores are summed, in the order of the weights."""
        axes = self.subject.axes
        return [a for name in self.subject.weights for a in axes if a.tensor == name]

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
        """Return an accumulator over units scored as wholes, along axes, or over weights."""
        subject = self.subject
        weights, criterion = list(subject.weights.values()), subject.criterion

        def fold(scores: Sequence[Tensor]) -> list[Tensor]:
            return subject.unit_scores(dict(zip(subject.weights, scores, strict=True)))

        if criterion.whole_units:
            return UnitAccumulator(weights, criterion, fold, subject.units)
        if subject.unit_sums is not None and saves_by_lines(weights):
            dims = [[a.dim for a in self._axes if a.tensor == n] for n in subject.weights]
            return LineAccumulator(weights, criterion, dims)
        return Accumulator(weights, criterion)


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
