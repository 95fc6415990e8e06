"""Variants: the inputs on which a compact model must prove itself.

The example inputs, and random ones of another batch size and of other spatial sizes, as far as the
model runs on them: a size that is right for one input only must not go unnoticed.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from lightning_prune.errors import ExampleInputsError
from lightning_prune.modules.inputs import ExampleInputs
from lightning_prune.modules.twin import twin

_BATCH_SIZE = 4
_STRIDE = 32
"""Positions by which the sizes of images usually change, for the sake of strided layers."""


def variants(model: nn.Module, inputs: ExampleInputs) -> list[ExampleInputs]:
    """Return inputs on which ``model`` runs.

    Args:
        model: the model; it is left alone.
        inputs: arguments for its ``forward``, on its device.

    Returns:
        The example inputs, cut to a small batch, and one variant of them.

    Raises:
        ExampleInputsError: if the model does not run on the example inputs.
    """
    runner = twin(model).eval()
    small = inputs.narrowed(_BATCH_SIZE)
    if not _runs(runner, small):
        _call(runner, inputs)
        return [inputs, inputs.map(randomized)]
    random = small.map(randomized)
    candidates = [
        _other_batch_size(random).map(_cut_positions),
        _other_batch_size(random),
        random.map(_cut_positions),
        random,
    ]
    return [small, next((c for c in candidates if _runs(runner, c)), small)]


def _call(model: nn.Module, inputs: ExampleInputs) -> None:
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        inputs.on(model).map(torch.clone)(model)


def _runs(model: nn.Module, inputs: ExampleInputs) -> bool:
    try:
        _call(model, inputs)
    except ExampleInputsError:
        return False
    return True


def randomized(tensor: Tensor) -> Tensor:
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


def _cut_positions(tensor: Tensor) -> Tensor:
    """Return fewer positions of an image, a sequence of features or a sequence of numbers."""
    if tensor.is_floating_point():
        positions = range(2, tensor.dim()) if tensor.dim() > 3 else range(1, tensor.dim() - 1)
    else:
        positions = range(1, tensor.dim())
    for dim in positions:
        tensor = tensor.narrow(dim, 0, _shorter(tensor.shape[dim]))
    return tensor


def _shorter(size: int) -> int:
    if size > 2 * _STRIDE:
        return (3 * size // 4) // _STRIDE * _STRIDE
    return size - size // 4
