"""Are the outputs of a runtime those of the model?"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from lightning_prune.formats.base import Runner
from lightning_prune.formats.program import Exportable
from lightning_prune.modules.inputs import ExampleInputs
from lightning_prune.modules.nesting import tensors_in
from lightning_prune.modules.precision import full_precision


def largest_error(exportable: Exportable, run: Runner, *, calibrated: bool = False) -> float:
    """Return the largest difference between a runtime and torch, over the scale of the output.

    They are compared on the example, on its rows in another order with other values and, where the
    batch is open, on batches of one row and of one row more.

    Args:
        exportable: the model.
        run: runs what was exported of it.
        calibrated: compare on the calibration batches instead: other values may be beyond the
            range of the numbers that a quantiser has chosen.

    Raises:
        ValueError: if the runtime returns other numbers or sizes of tensors.
    """
    errors = []
    for inputs in exportable.calibration if calibrated else _variants(exportable):
        with torch.no_grad(), full_precision():
            expected = tensors_in(inputs.map(torch.clone)(exportable.model))
        errors.append(_error(expected, run(exportable.named(inputs))))
    return max(errors)


def _variants(exportable: Exportable) -> Iterator[ExampleInputs]:
    inputs = exportable.inputs
    yield inputs
    generator = torch.Generator().manual_seed(0)

    def changed(t: Tensor) -> Tensor:
        rows = t.flip(0) if t.dim() else t
        # Signs and zeros stay: they may mean something.
        factors = torch.rand(t.shape, generator=generator) + 0.5
        return rows * factors.to(t.dtype) if t.is_floating_point() else rows

    yield inputs.map(changed)
    if exportable.dynamic:
        yield inputs.resized(1)
        yield inputs.resized(inputs.batch_size + 1)


def _error(expected: Sequence[Tensor], got: Sequence[Tensor]) -> float:
    shapes = [[tuple(t.shape) for t in tensors] for tensors in (expected, got)]
    if shapes[0] != shapes[1]:
        raise ValueError(f"outputs of the sizes {shapes[1]} instead of {shapes[0]}")
    return max((_relative(*pair) for pair in zip(expected, got, strict=True)), default=0.0)


def _relative(expected: Tensor, got: Tensor) -> float:
    a, b = expected.double(), got.double()
    same = (a == b) | (a.isnan() & b.isnan())  # infinities have no difference
    if bool(same.all()):
        return 0.0
    scale = a[a.isfinite()].abs().max()
    return float(((a - b)[~same].abs() / scale).max())
