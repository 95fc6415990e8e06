"""Verification: does a changed model compute what the masked one computed?

One verification serves every stage of a compaction, and holds every later form of the model to the
masked model as it was given: in eval and in train mode, in float32, in float64 where that is
possible, in the model's own arithmetic, on the examples and on what may vary beside them. It never
permits a removal, it only refuses. Nothing here changes the model: everything runs on copies.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import torch
from torch import nn

from lightning_prune.compaction.verification.comparison import Errors, errors_between, is_as_near
from lightning_prune.compaction.verification.copies import Copies
from lightning_prune.compaction.verification.reference import Reference, Trial
from lightning_prune.compaction.verification.runs import Pass, Run, runs
from lightning_prune.errors import ExampleInputsError, VerificationError
from lightning_prune.modules.inputs import ExampleInputs

TOLERANCES = {torch.float64: 1e-10, torch.float32: 1e-4}
"""Largest relative error allowed, by the type of the arithmetic."""

FOLDED_TOLERANCES = {torch.float64: 1e-6, torch.float32: 1e-4}
"""The same, where parameters have taken up constants and were rounded."""


class Verification:
    """What a masked model computes, to which later forms of it are held.

    Args:
        model: the masked model; it must not change in place as long as this is used.
        examples: arguments for it, on its device.

    Raises:
        ExampleInputsError: if the model does not run on the examples.
        VerificationError: if it returns nothing that could be compared.
    """

    compares: bool = True

    def __init__(self, model: nn.Module, examples: Sequence[ExampleInputs]) -> None:
        self._reference = Reference(model, examples)
        self._refuting: Trial | None = None

    @property
    def tried(self) -> tuple[str, ...]:
        """What the masked model was run in, with and on so far."""
        return tuple(dict.fromkeys(self._reference.tried))

    @property
    def untried(self) -> tuple[str, ...]:
        """What it was not run in, with or on, and why."""
        late = dict.fromkeys(self._reference.no_time)
        skipped = [f"for lack of time: {', '.join(late)}"] if late else []
        return tuple(dict.fromkeys([*self._reference.untried, *skipped]))

    @property
    def counterexample(self) -> ExampleInputs | None:
        """The variant of an example on which the last refused model differed, None if on none."""
        trial = self._refuting
        return trial.steps[0].inputs if trial is not None and trial.is_variant else None

    def check(
        self, model: nn.Module, tolerances: Mapping[torch.dtype, float] = TOLERANCES
    ) -> Errors:
        """Hold ``model`` to what the masked model computes.

        Args:
            model: the model after surgery.
            tolerances: largest relative error allowed, by the type of the arithmetic.

        Returns:
            The largest differences in float32; in float64 of a model that runs in no other.

        Raises:
            VerificationError: if it does not run, or differs by more than ``tolerances``.
        """
        errors, copies = Errors(), Copies(model)
        for trial in self._in_order():
            try:
                found = _hold(copies, trial, tolerances)
            except VerificationError:
                self._refuting = trial
                raise
            if trial.dtype == self._reference.dtype:
                errors |= found
        return errors

    def _in_order(self) -> Iterator[Trial]:
        """Yield the trial that refuted the last model first: the next is often like it."""
        first = self._refuting
        if first is not None:
            yield first
        yield from (trial for trial in self._reference if trial is not first)


def _hold(copies: Copies, trial: Trial, tolerances: Mapping[torch.dtype, float]) -> Errors:
    errors = Errors()
    calls = runs(copies, trial.steps, trial.dtype, trial.truth or trial.runs)
    for index, step in enumerate(trial.steps):
        try:
            errors |= _compare(trial, index, next(calls), tolerances)
        except ExampleInputsError as error:
            raise VerificationError(_when(step) + str(error.__cause__)) from error
        except VerificationError as error:
            raise VerificationError(_when(step) + str(error)) from error
    return errors


def _when(step: Pass) -> str:
    return f"{step.name}, " if step.name else ""


def _compare(
    trial: Trial, index: int, obtained: Run, tolerances: Mapping[torch.dtype, float]
) -> Errors:
    expected = trial.runs[index]
    if trial.truth is not None:
        if not is_as_near(trial.truth[index], expected, obtained):
            raise VerificationError("outputs are rounded more than those of the masked model")
        return Errors()
    errors = errors_between(expected, obtained, made_up=trial.is_variant)
    allowed = tolerances[trial.dtype or torch.float32]
    if not errors.max_rel_error <= allowed:
        raise VerificationError(
            f"outputs differ by {errors.max_rel_error:.1e} in {trial.dtype}, more than "
            f"{allowed:.0e}"
        )
    return errors
