"""No verification: for copies that are only measured, it is enough that they run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

import torch
from torch import nn

from lightning_prune.compaction.verification.comparison import Errors
from lightning_prune.compaction.verification.verification import TOLERANCES
from lightning_prune.errors import ExampleInputsError, VerificationError
from lightning_prune.modules.fast_paths import composite_operations
from lightning_prune.modules.inputs import ExampleInputs
from lightning_prune.modules.outlining import NumbersNeededError, Outlining, can_outline
from lightning_prune.modules.seeding import seeded
from lightning_prune.modules.twin import clone, twin


class Check(Protocol):
    """What later forms of a model are held to: a `Verification`, or none."""

    @property
    def compares(self) -> bool:
        """Whether it looks at what a model computes; else it sees that it runs, and no more."""

    @property
    def tried(self) -> tuple[str, ...]:
        """What the masked model was run in, with and on so far."""

    @property
    def untried(self) -> tuple[str, ...]:
        """What it was not run in, with or on, and why."""

    @property
    def counterexample(self) -> ExampleInputs | None:
        """The variant of an example on which the last refused model differed, None if on none."""

    def check(
        self, model: nn.Module, tolerances: Mapping[torch.dtype, float] = TOLERANCES
    ) -> Errors:
        """Hold ``model`` to what the masked model computes; raise a `VerificationError`."""


class Unverified:
    """Sees that a model runs, and nothing else.

    Args:
        examples: arguments for it, on its device.
    """

    compares: bool = False
    tried: tuple[str, ...] = ()
    untried: tuple[str, ...] = ()
    counterexample: ExampleInputs | None = None

    def __init__(self, examples: Sequence[ExampleInputs]) -> None:
        self._examples = examples

    def check(
        self, model: nn.Module, tolerances: Mapping[torch.dtype, float] = TOLERANCES
    ) -> Errors:
        """Run a copy of the model.

        Args:
            model: the model after surgery.
            tolerances: not looked at.

        Returns:
            No differences, as none were looked for.

        Raises:
            VerificationError: if it does not run.
        """
        devices = {t.device for example in self._examples for t in example.tensors}
        with torch.no_grad(), seeded(0, devices):
            for example in self._examples:
                if _runs_by_shapes(model, example):
                    continue
                try:
                    example.map(torch.clone)(clone(model).eval())
                except ExampleInputsError as error:
                    raise VerificationError(str(error.__cause__)) from error
        return Errors()


def _runs_by_shapes(model: nn.Module, example: ExampleInputs) -> bool:
    """Tell whether a model is seen to run by shapes alone; False if numbers are needed for that."""
    if not can_outline(model, example.tensors):
        return False
    try:
        copy = twin(model).eval()
        outlining = Outlining(copy)
        outlining.follow(example.tensors)
        with composite_operations(), outlining:
            example.map(torch.clone)(copy)
        outlining.finish()
    except (NumbersNeededError, ExampleInputsError):
        return False
    return True
