"""What evidence is: what a criterion reads of a model beside its weights.

Evidence is gathered between two updates of the masks: at every step, as gradients are, at every
forward pass, as activations are, or when an update is due, as the flow is.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Self

import torch
from torch import Tensor, nn

from lightning_prune.criteria.evidence.line_sums import LineSums
from lightning_prune.modules.flat import split_like
from lightning_prune.modules.inputs import ExampleInputs
from lightning_prune.modules.kernels import differentiable
from lightning_prune.modules.shards import local
from lightning_prune.modules.tiles import Piece, pieces_of
from lightning_prune.units.group import Axis

if TYPE_CHECKING:
    from lightning_prune.criteria.base import Criterion


@dataclass(frozen=True)
class Subject:
    """What is observed, and for whom.

    Args:
        model: the module that is pruned.
        weights: those of its parameters that have scores, by name.
        criterion: makes the scores.
        unit_scores: makes scores of units, a tensor for each group, of those of weights.
        units: how many units every group has, by its name.
        examples: example inputs, if the evidence needs some.
        axes: where the scores of a unit are sums of those of its weights, the axes along which
            these may be summed as they are read; none where they may not.
        unit_sums: makes scores of units of such sums.
    """

    model: nn.Module
    weights: Mapping[str, Tensor]
    criterion: Criterion
    unit_scores: Callable[[Mapping[str, Tensor]], list[Tensor]]
    units: Mapping[str, int]
    examples: Sequence[ExampleInputs] = ()
    axes: Sequence[Axis] = ()
    unit_sums: Callable[[Mapping[Axis, Tensor]], list[Tensor]] | None = None


class Evidence(ABC):
    """What a criterion reads beside the weights; by itself it gathers nothing.

    Evidence of your own says what is `observed` of every weight when an update is due, and gathers
    it in `add`, or by hooks from `start` to `stop`:

    >>> class Ages(Evidence):
    ...     "How many steps there were since the last update."
    ...     name = "ages"
    ...     steps = 0
    ...
    ...     def add(self, parameters=None, grad_scale=None):
    ...         self.steps += 1
    ...
    ...     def observed(self):
    ...         return [torch.full_like(w, self.steps) for w in self.subject.weights.values()]
    ...
    ...     def reset(self):
    ...         self.steps = 0

    Args:
        subject: what is observed, and for whom.

    Attributes:
        name: what it is, a plural, for messages.
        needs_data: batches must have been seen before an update.
        needs_examples: it takes example inputs.
        of_optimizers: it is read off the gradients of what optimizers step on.
        in_training: it can be gathered while a Trainer trains.
        same_on_ranks: all ranks gather the same; else `reduce` adds up theirs.
    """

    name: ClassVar[str]
    needs_data: ClassVar[bool] = False
    needs_examples: ClassVar[bool] = False
    of_optimizers: ClassVar[bool] = False
    in_training: ClassVar[bool] = True
    same_on_ranks: ClassVar[bool] = True

    def __init__(self, subject: Subject) -> None:
        self.subject = subject

    @classmethod
    def observable(cls, model: nn.Module, names: Collection[str]) -> set[str]:
        """Return of which parameters there is such evidence.

        Args:
            model: the module to prune.
            names: names of its parameters.

        Returns:
            Some of the names; the others have no score.
        """
        return set(names)

    @property
    def ready(self) -> bool:
        """Whether there is enough for an update. Synchronises with the device."""
        return True

    @property
    def started(self) -> bool:
        """Whether anything was seen since the last update, be it finite or not."""
        return True

    @property
    def survives_compaction(self) -> bool:
        """Whether the weights may become smaller now, and nothing was gathered of what goes."""
        return False

    def start(self, *, only_training: bool) -> None:  # noqa: B027 (nothing to do for most)
        """Begin to observe by hooks, unless that has begun.

        Args:
            only_training: look at forward passes in training mode only.
        """

    def stop(self) -> None:  # noqa: B027
        """Take every hook off the model; what was observed stays."""

    def gather(self, loss: Callable[[nn.Module, Any], Tensor], batch: Any) -> None:
        """Look at one batch outside of a training: differentiate its loss, and `add`.

        Args:
            loss: ``loss(model, batch)`` returns a scalar.
            batch: what it takes.

        Raises:
            ValueError: if the loss has no gradient.
        """
        model = self.subject.model
        model.zero_grad()
        with torch.enable_grad(), self.kernels(model):
            value = loss(model, batch)
            if not isinstance(value, Tensor) or value.numel() != 1 or not value.requires_grad:
                raise ValueError(
                    "Expected `loss` to return a scalar tensor with a gradient, but got "
                    f"{value!r}. Return the mean over the batch, without `item()` and outside of "
                    "`torch.no_grad()`."
                )
            self.differentiate(value)
        self.add()

    def kernels(self, model: nn.Module) -> AbstractContextManager[None]:
        """Return a context in which a loss of the model has the derivatives that are read."""
        return differentiable(model)

    def differentiate(self, value: Tensor) -> None:
        """Leave in ``.grad`` what `add` looks at.

        Args:
            value: the loss of a batch.
        """
        value.backward()

    def add(  # noqa: B027
        self,
        parameters: Iterable[Tensor] | None = None,
        grad_scale: float | Tensor | None = None,
    ) -> None:
        """Look at one step of an optimizer, when its gradients are final.

        Neither synchronises with the device nor allocates what could be reused.

        Args:
            parameters: those that the optimizer steps on, ``None`` = all.
            grad_scale: what the gradients were multiplied with, ``None`` = nothing.
        """

    @abstractmethod
    def observed(self) -> list[Tensor]:
        """Return what `Criterion.write` takes for each weight, by itself or in its average.

        Returns:
            One tensor for each weight of the subject, in its shape or in one that broadcasts to
            it; none if the criterion reads weights only.
        """

    def reset(self) -> None:  # noqa: B027
        """Forget what was gathered: an update has used it."""

    def reduce(self, add_up: Callable[[Tensor], Tensor]) -> None:  # noqa: B027
        """Add up over ranks what each has gathered from its own data.

        Args:
            add_up: returns the sum of a tensor over all ranks.
        """

    @torch.no_grad()
    def scores(self) -> list[Tensor]:
        """Return the scores of each group's units, each of shape ``[units]``."""
        subject = self.subject
        if subject.unit_sums is not None and subject.criterion.elementwise:
            return subject.unit_sums(self._sums_along(subject.axes))
        weights = [local(weight) for weight in self.subject.weights.values()]
        flat = torch.empty(sum(w.numel() for w in weights), device=weights[0].device)
        scores = split_like(flat, [w.shape for w in weights])
        subject.criterion.write(scores, weights, self.observed())
        return subject.unit_scores(dict(zip(subject.weights, scores, strict=True)))

    def _sums_along(self, axes: Sequence[Axis]) -> dict[Axis, Tensor]:
        """Return the scores of weights, summed along axes a piece at a time."""
        names, weights = list(self.subject.weights), list(self.subject.weights.values())
        dims = [[axis.dim for axis in axes if axis.tensor == name] for name in names]
        sums, read = (
            LineSums([w.shape for w in weights], dims, weights[0].device),
            self.weight_scores(),
        )
        for piece in pieces_of(weights):
            sums.add(piece, read(piece).view(piece.shape))
        lines = dict(zip(names, sums.lines, strict=True))
        return {axis: lines[axis.tensor][axis.dim] for axis in axes}

    @torch.no_grad()
    def weight_scores(self) -> Callable[[Piece], Tensor]:
        """Return what gives the scores of a piece of the weights, flat, where these are units.

        Of sharded weights it gives those of this rank's part.
        """
        criterion = self.subject.criterion
        if not criterion.elementwise:
            scores = self.scores()
            return lambda piece: piece.of_flat(scores)
        weights = [local(weight.detach()) for weight in self.subject.weights.values()]
        observed = self.observed()
        seen = [o.expand(w.shape) for o, w in zip(observed, weights, strict=bool(observed))]

        def read(piece: Piece) -> Tensor:
            part = piece.of(weights)
            out = torch.empty(piece.shape, device=part.device)
            criterion.write([out], [part], [piece.of(seen)] if seen else [])
            return out.flatten()

        return read

    def state_dict(self) -> dict[str, Any] | None:
        """Return what was gathered since the last update, ``None`` if nothing was."""
        return None

    def load_state_dict(self, state: dict[str, Any] | None) -> None:  # noqa: B027
        """Take over what `state_dict` returned for the same groups and criterion."""

    def adopt(self, other: Self) -> None:  # noqa: B027
        """Take over what was gathered of the same model for fewer groups."""
