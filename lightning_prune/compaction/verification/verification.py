"""Verification: does the compact model compute what the masked one computed?

The masked model's outputs are taken before surgery, in float32 and, where memory allows, in
float64, on the example inputs and on others; with them what goes into every decision that the model
takes on the way. In train mode the compact model must run and return the same shapes. Nothing here
changes the model: everything runs on twins and copies.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from lightning_prune.compaction.verification.decisions import (
    Decision,
    Decisions,
    inputs_in_common,
    is_proof,
)
from lightning_prune.compaction.verification.variants import variants
from lightning_prune.coupling.modes import prepare_training
from lightning_prune.errors import ExampleInputsError, VerificationError
from lightning_prune.modules.inputs import ExampleInputs, output_tensors
from lightning_prune.modules.twin import twin

log = logging.getLogger(__name__)

TOLERANCES = {torch.float64: 1e-10, torch.float32: 1e-4}
"""Largest relative error allowed, by the type of the arithmetic."""

FOLDED_TOLERANCES = {torch.float64: 1e-6, torch.float32: 1e-4}
"""The same, where parameters have taken up constants and were rounded."""


@dataclass(frozen=True)
class Errors:
    """Largest differences between two models, in float32.

    Args:
        max_abs_error: largest absolute difference of any output element.
        max_rel_error: the same over the largest absolute output element.
    """

    max_abs_error: float = 0.0
    max_rel_error: float = 0.0

    def __or__(self, other: Errors) -> Errors:
        return Errors(
            max(self.max_abs_error, other.max_abs_error),
            max(self.max_rel_error, other.max_rel_error),
        )


@dataclass(frozen=True, eq=False)
class _Run:
    """What a model returned, and the decisions that it took on the way."""

    outputs: list[Tensor]
    decisions: list[Decision]
    lowers_precision: bool

    @property
    def proves(self) -> bool:
        """Whether there is anything that could tell two models apart."""
        return any(bool(t.isfinite().any()) for t in self.outputs) or is_proof(self.decisions)


class Verification:
    """The outputs of a masked model, to which a compact one is held.

    Args:
        model: the masked model, before surgery.
        examples: arguments for its methods, on its device.

    Raises:
        ExampleInputsError: if the model does not run on the inputs.
        VerificationError: if it returns nothing that could be compared.
    """

    def __init__(self, model: nn.Module, examples: Sequence[ExampleInputs]) -> None:
        found = [variants(model, example) for example in examples]
        self.inputs = [variant for one in found for variant in one]
        self._small = [one[0] for one in found]
        self._reference = {torch.float32: self._runs(model, torch.float32)}
        self._training = self._shapes_in_training(model)
        if not any(run.proves for run in self._reference[torch.float32]):
            raise VerificationError(
                f"Expected `{type(model).__name__}.forward` to return tensors of real numbers, but "
                "got none that is finite, so nothing can be proved. Pass a model that returns what "
                "it computes, at least one example, and weights without NaN."
            )
        if not _has_room(model):
            log.warning("Not enough memory for a copy in float64: verified in float32 only.")
            return
        try:
            runs = self._runs(model, torch.float64)
        except ExampleInputsError as error:
            log.warning("Verified in float32 only: in float64, %s", error.__cause__)
            return
        if any(run.lowers_precision for run in runs):
            log.info("Verified in float32 only: the model casts to it, whatever it is given.")
            return
        self._reference[torch.float64] = runs

    def check(
        self, model: nn.Module, tolerances: Mapping[torch.dtype, float] = TOLERANCES
    ) -> Errors:
        """Hold ``model`` to the outputs of the masked model.

        Args:
            model: the model after surgery.
            tolerances: largest relative error allowed, by the type of the arithmetic.

        Returns:
            The largest differences in float32.

        Raises:
            VerificationError: if it does not run, or differs by more than ``tolerances``.
        """
        errors = Errors()
        for dtype, reference in self._reference.items():
            try:
                runs = self._runs(model, dtype, reference)
            except ExampleInputsError as error:
                raise VerificationError(str(error.__cause__)) from error
            found = Errors()
            for expected, obtained in zip(reference, runs, strict=True):
                found |= _compare(expected, obtained)
            if not found.max_rel_error <= tolerances[dtype]:
                raise VerificationError(
                    f"outputs differ by {found.max_rel_error:.1e} in {dtype}, more than "
                    f"{tolerances[dtype]:.0e}"
                )
            if dtype == torch.float32:
                errors = found
        self._check_training(model)
        return errors

    def _check_training(self, model: nn.Module) -> None:
        for expected, shapes in zip(self._training, self._shapes_in_training(model), strict=True):
            if expected is not None and shapes != expected:
                raise VerificationError(
                    f"in train mode, outputs have shapes {shapes} instead of {expected}"
                    if shapes is not None
                    else "it no longer runs in train mode"
                )

    def _runs(
        self, model: nn.Module, dtype: torch.dtype, reference: Sequence[_Run] | None = None
    ) -> list[_Run]:
        copied = twin(model, dtype).eval()
        devices = [t.device for t in self.inputs[0].tensors if t.device.type == "cuda"]
        runs: list[_Run] = []
        for index, inputs in enumerate(self.inputs):
            decisions = Decisions(reference[index].decisions if reference is not None else None)
            with torch.random.fork_rng(devices=devices[:1]), torch.no_grad(), decisions:
                torch.manual_seed(0)
                outputs = output_tensors(_run(copied, inputs))
            runs.append(_Run(outputs, decisions.made, decisions.lowers_precision))
        return runs

    def _shapes_in_training(self, model: nn.Module) -> list[list[tuple[int, ...]] | None]:
        """Return the shapes of the outputs in train mode, None where the model does not run so."""
        copied = twin(model)
        prepare_training(copied)
        return [_shapes(copied, inputs) for inputs in self._small]


def _run(model: nn.Module, inputs: ExampleInputs) -> Any:
    """Call ``model`` on copies, for it may write into its inputs."""
    return inputs.on(model).map(torch.clone)(model)


def _shapes(model: nn.Module, inputs: ExampleInputs) -> list[tuple[int, ...]] | None:
    """Return the shapes of what ``model`` returns, None if it does not run."""
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(0)
        try:
            return [tuple(t.shape) for t in output_tensors(_run(model, inputs))]
        except ExampleInputsError:
            return None


def _compare(reference: _Run, obtained: _Run) -> Errors:
    shapes = [[tuple(t.shape) for t in run.outputs] for run in (reference, obtained)]
    if shapes[0] != shapes[1]:
        raise VerificationError(f"outputs have shapes {shapes[1]} instead of {shapes[0]}")
    errors = Errors()
    first, second = inputs_in_common(reference.decisions, obtained.decisions)
    for expected, found in zip(
        [*first, *reference.outputs], [*second, *obtained.outputs], strict=True
    ):
        errors |= _difference(expected, found)
    return errors


def _difference(expected: Tensor, obtained: Tensor) -> Errors:
    finite = expected.isfinite()
    if not torch.equal(finite, obtained.isfinite()):
        raise VerificationError("outputs differ in where they are finite")
    if not bool(finite.any()):
        return Errors()
    difference = float((expected - obtained)[finite].abs().max())
    scale = float(expected[finite].abs().max())
    return Errors(difference, difference / scale if scale else float(difference > 0))


def _has_room(model: nn.Module) -> bool:
    """Tell whether a copy in float64 fits into the memory of the model's device."""
    tensors: list[Any] = [*model.parameters(), *model.buffers()]
    wanted = 3 * 8 * sum(t.numel() for t in tensors)
    device = tensors[0].device if tensors else torch.device("cpu")
    if device.type == "cuda":
        return bool(torch.cuda.mem_get_info(device)[0] > wanted)
    return device.type == "cpu" and _free_memory() > wanted


def _free_memory() -> float:
    try:
        return float(os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))
    except (ValueError, OSError, AttributeError):
        return float("inf")
