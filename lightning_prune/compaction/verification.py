"""Verification: does the compact model compute what the masked one computed?

The masked model's outputs are taken before surgery, in float32 and, where memory allows, in
float64, on the example inputs and on random inputs of another batch size. Nothing here changes
the model: everything runs on twins and copies.
"""

from __future__ import annotations

import copy
import logging
import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from lightning_prune.errors import ExampleInputsError, VerificationError
from lightning_prune.inputs import ExampleInputs, output_tensors
from lightning_prune.twin import twin

log = logging.getLogger(__name__)

TOLERANCES = {torch.float64: 1e-10, torch.float32: 1e-4}
"""Largest relative error allowed, by the type of the arithmetic."""

_BATCH_SIZE = 4


@dataclass(frozen=True)
class Errors:
    """Largest differences between two models, in float32.

    Args:
        max_abs_error: largest absolute difference of any output element.
        max_rel_error: the same over the largest absolute output element.
    """

    max_abs_error: float = 0.0
    max_rel_error: float = 0.0


class Verification:
    """The outputs of a masked model, to which a compact one is held.

    Args:
        model: the masked model, before surgery.
        inputs: arguments for its ``forward``, on its device.

    Raises:
        ExampleInputsError: if the model does not run on the inputs.
        VerificationError: if it returns nothing that could be compared.
    """

    def __init__(self, model: nn.Module, inputs: ExampleInputs) -> None:
        self._inputs = _variants(model, inputs)
        self._reference = {torch.float32: self._outputs(model, torch.float32)}
        if not any(bool(t.isfinite().any()) for t in self._reference[torch.float32]):
            raise VerificationError(
                f"Expected `{type(model).__name__}.forward` to return tensors of real numbers, but "
                "got none that is finite, so nothing can be proved. Pass a model that returns what "
                "it computes, at least one example, and weights without NaN."
            )
        if not _has_room(model):
            log.warning("Not enough memory for a copy in float64: verified in float32 only.")
            return
        try:
            self._reference[torch.float64] = self._outputs(model, torch.float64)
        except ExampleInputsError as error:
            log.warning("Verified in float32 only: in float64, %s", error.__cause__)

    def check(self, model: nn.Module) -> Errors:
        """Hold ``model`` to the outputs of the masked model.

        Args:
            model: the model after surgery.

        Returns:
            The largest differences in float32.

        Raises:
            VerificationError: if it does not run, or differs by more than `TOLERANCES`.
        """
        errors = Errors()
        for dtype, reference in self._reference.items():
            try:
                outputs = self._outputs(model, dtype)
            except ExampleInputsError as error:
                raise VerificationError(str(error.__cause__)) from error
            found = _compare(reference, outputs)
            if not found.max_rel_error <= TOLERANCES[dtype]:
                raise VerificationError(
                    f"outputs differ by {found.max_rel_error:.1e} in {dtype}, more than "
                    f"{TOLERANCES[dtype]:.0e}"
                )
            if dtype == torch.float32:
                errors = found
        return errors

    def _outputs(self, model: nn.Module, dtype: torch.dtype) -> list[Tensor]:
        copied = _converted(model, dtype).eval()
        devices = [t.device for t in self._inputs[0].tensors if t.device.type == "cuda"]
        outputs: list[Tensor] = []
        for inputs in self._inputs:
            with torch.random.fork_rng(devices=devices[:1]), torch.no_grad():
                torch.manual_seed(0)
                outputs += output_tensors(_run(copied, inputs))
        return outputs


def _run(model: nn.Module, inputs: ExampleInputs) -> Any:
    """Call ``model`` on copies, for it may write into its inputs."""
    return inputs.on(model).map(torch.clone)(model)


def _converted(model: nn.Module, dtype: torch.dtype) -> nn.Module:
    copied = twin(model)
    types = {t.dtype for t in model.parameters()} | {
        t.dtype for t in model.buffers() if t.is_floating_point()
    }
    return copied if types == {dtype} else copy.deepcopy(copied).to(dtype)


def _variants(model: nn.Module, inputs: ExampleInputs) -> list[ExampleInputs]:
    """Return the example inputs, and random ones of another batch size where the model allows."""
    small = inputs.narrowed(_BATCH_SIZE)
    random = small.map(_randomized)
    other = _other_batch_size(random)
    runner = twin(model).eval()
    variants = [small]
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        try:
            _run(runner, small)
        except ExampleInputsError:
            if small is inputs:
                raise
            return [inputs, inputs.map(_randomized)]
        for candidate in (other, random):
            try:
                _run(runner, candidate)
            except ExampleInputsError:
                continue
            variants.append(candidate)
            break
    return variants


def _randomized(tensor: Tensor) -> Tensor:
    """Return other values: noise of the same mean and spread, or integers in another order."""
    if not tensor.is_floating_point():
        return tensor.flip(-1) if tensor.dim() else tensor
    generator = torch.Generator().manual_seed(0)
    noise = torch.randn(tensor.shape, generator=generator).to(tensor)
    spread = tensor.std() if tensor.numel() > 1 else tensor.new_zeros(())
    return noise * torch.where(spread > 0, spread, torch.ones_like(spread)) + tensor.mean()


def _other_batch_size(inputs: ExampleInputs) -> ExampleInputs:
    full = inputs.batch_size
    if full > 1:
        return inputs.narrowed(full - 1)

    def double(t: Tensor) -> Tensor:
        return torch.cat([t, t.roll(1, -1)]) if t.dim() > 1 and t.shape[0] == 1 else t

    return inputs.map(double)


def _compare(reference: Sequence[Tensor], outputs: Sequence[Tensor]) -> Errors:
    shapes = [tuple(t.shape) for t in reference], [tuple(t.shape) for t in outputs]
    if shapes[0] != shapes[1]:
        raise VerificationError(f"outputs have shapes {shapes[1]} instead of {shapes[0]}")
    max_abs = max_rel = 0.0
    for expected, obtained in zip(reference, outputs, strict=True):
        finite = expected.isfinite()
        if not torch.equal(finite, obtained.isfinite()):
            raise VerificationError("outputs differ in where they are finite")
        if bool(finite.any()):
            difference = float((expected - obtained)[finite].abs().max())
            scale = float(expected[finite].abs().max())
            max_abs = max(max_abs, difference)
            max_rel = max(max_rel, difference / scale if scale else float(difference > 0))
    return Errors(max_abs, max_rel)


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
