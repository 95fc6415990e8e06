"""What a criterion is: a score for every weight.

A criterion turns the weights, and what was observed of them in one step, into scores, higher =
keep. It keeps no state and sums nothing over steps. Whoever removes weights by a score removes the
**lowest**: cutting "the most important 20%" is the wrong way round.
"""

# No postponed annotations: a command line looks up those of a class in the module of its subclass.
from abc import ABC, abstractmethod
from collections.abc import Collection, Sequence
from typing import Any, ClassVar

from torch import Tensor, nn
from typing_extensions import override

from lightning_prune.criteria.evidence.base import Evidence
from lightning_prune.units.scores import Sides


class Criterion(ABC):
    r"""A score for every weight, from the weights and what was observed in one step.

    A criterion of your own is a frozen dataclass with `reads` and `write`:

    >>> import torch
    >>> from dataclasses import dataclass
    >>> from lightning_prune.criteria.evidence import Gradients
    >>> @dataclass(frozen=True)
    ... class SignAgreement(Criterion):
    ...     "Keep weights that gradient descent makes larger."
    ...     reads = Gradients
    ...
    ...     def write(self, out, weights, observed):
    ...         for score, weight, gradient in zip(out, weights, observed):
    ...             score.copy_(-gradient * weight.sign())
    >>> from lightning_prune import Pruning
    >>> Pruning(sparsity=0.5, criterion=SignAgreement()).recipe.criterion
    SignAgreement()

    Attributes:
        reads: the class of what is read beside the weights (`lightning_prune.criteria.evidence`).

            * ``Weights``: nothing; scores are read off the weights when an update is due.
            * ``Gradients``: the gradient of every weight; scores are averaged over the steps
              since the last update of the masks.
            * ``Curvature``: the product of Hessian and gradient, averaged likewise; it takes the
              loss itself, so it works in `prune` and not in training.
            * ``Activations``: what `observe` returns for the inputs of every linear layer and
              convolution, averaged over the batches since the last update.
            * ``Covariances``: the variance of every input of such a layer that its other inputs do
              not explain.
            * ``Flow``: the gradient of the summed outputs by the absolute weights, for an input
              of ones, when an update is due; it takes example inputs and no data.
            * an `Evidence` of your own.
        shares: the scores of a step are divided by their sum before they are averaged, so that
            every step weighs the same.
        elementwise: the score of a weight depends on this weight and what was observed of it, and
            on nothing else; where no rank holds whole weights, only such scores can be had.
        sides: which weights of a unit count: those that write it, that read it, or both.
        single_weights: a unit of one weight has a score, too.
        relative: the score of a unit comes from comparing it with the others of its group.
    """

    reads: ClassVar[type[Evidence]]
    shares: ClassVar[bool] = False
    elementwise: ClassVar[bool] = False
    sides: ClassVar[Sides] = "both"
    single_weights: ClassVar[bool] = True
    relative: ClassVar[bool] = False

    @override
    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        reads = getattr(cls, "reads", Evidence)
        if not (isinstance(reads, type) and issubclass(reads, Evidence)):
            raise TypeError(
                f"Expected `{cls.__name__}.reads` to be a subclass of Evidence, but got {reads!r}. "
                "`lightning_prune.criteria.evidence` has Weights, Gradients, Activations and more."
            )

    @abstractmethod
    def write(self, out: list[Tensor], weights: list[Tensor], observed: list[Tensor]) -> None:
        """Write the scores of this step into ``out``.

        Runs after every backward pass: no synchronisation with the device, and no loop over the
        weights where a ``torch._foreach_*`` function serves. Observations that are not finite may
        give any score that is not finite.

        Args:
            out: where to write, one float32 tensor of the same shape for each weight.
            weights: the weights, of any floating type; never written to.
            observed: what was observed of each weight, in its shape or, for activations, in one
                that broadcasts to it; empty if the criterion reads weights only.
        """

    @property
    def averaged(self) -> bool:
        """Whether scores are averaged over steps, so that no update can come before a step."""
        return self.reads.needs_data

    @property
    def rounds(self) -> int:
        """Number of rounds of an update, each with scores of what the round before has left."""
        return 1

    @property
    def whole_units(self) -> bool:
        """Whether `score_units` makes the scores of units, in every step, from those of weights."""
        return False

    def score_units(self, rows: Sequence[Tensor]) -> Tensor:
        """Score units as wholes, instead of reducing the scores of their weights.

        Args:
            rows: what `write` wrote of the weights of each unit, for each axis on which the units
                lie a tensor of shape ``[units, weights]``.

        Returns:
            Scores of shape ``[units]``.

        Raises:
            NotImplementedError: unless the criterion scores whole units.
        """
        raise NotImplementedError(f"{self} scores weights, not whole units.")

    def observe(self, inputs: Tensor) -> Tensor:
        """Return what is observed of the inputs of a layer, before it is averaged over positions.

        Args:
            inputs: what a layer reads, of any shape.

        Returns:
            A tensor of the same shape.

        Raises:
            NotImplementedError: unless the criterion reads activations.
        """
        raise NotImplementedError(f"{self} reads {self.reads.name}, not activations.")

    def scored(self, model: nn.Module, names: Collection[str]) -> set[str]:
        """Return which parameters have scores; the others do not count in the score of a unit.

        Args:
            model: the module to prune.
            names: names of its parameters.

        Returns:
            Some of the names.
        """
        return set(names)
