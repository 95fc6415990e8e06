"""Values: other numbers for the inputs of a model, of the kind that an example shows.

Real numbers become noise of the same mean and spread, whole numbers are drawn from the range that
the example shows, masks keep what they hide until asked.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor

from lightning_prune.compaction.verification.sizes import replaced
from lightning_prune.modules.inputs import ExampleInputs

Kind = Literal["mask", "hiding", "integers", "floats", "fixed"]
"""``mask``: zeros and ones, or booleans; ``hiding``: zeros and very negative numbers that are added
to attention scores; ``fixed``: what nothing is known of."""

_VERY_NEGATIVE = -1e4


def kind_of(tensor: Tensor) -> Kind:
    """Return what the values of an input tensor mean, judged by an example."""
    if not tensor.numel() or tensor.is_complex():
        return "fixed"
    if tensor.dtype == torch.bool:
        return "mask"
    is_switch = bool(tensor.dim()) and bool(((tensor == 0) | (tensor == 1)).all())
    if not tensor.is_floating_point():
        return "mask" if is_switch else "integers"
    if not bool(tensor.any()):
        return "floats"
    if is_switch:
        return "mask"
    if bool(((tensor == 0) | (tensor < _VERY_NEGATIVE)).all()):
        return "hiding"
    return "floats" if bool(tensor.isfinite().all()) else "fixed"


def drawn(
    inputs: ExampleInputs, example: ExampleInputs, seed: int, *, scale: float = 1.0
) -> ExampleInputs:
    """Return inputs with other real and whole numbers.

    Args:
        inputs: what is drawn anew, of any size.
        example: the same tensors as they were given; they tell the kind and the range.
        seed: of the numbers.
        scale: factor of the real numbers.

    Returns:
        New inputs of the same sizes; masks stay.
    """
    generator = torch.Generator().manual_seed(seed)
    has_values = has(example, "floats", "integers")  # else zeros and ones are all there is

    def draw(tensor: Tensor, given: Tensor) -> Tensor:
        kind = kind_of(given)
        if kind == "floats" or (not has_values and given.is_floating_point() and kind == "mask"):
            return scale * _noise(tensor, given, generator)
        if kind == "integers":
            return _integers(tensor, int(given.min()), int(given.max()), generator)
        return tensor

    return _zipped(draw, inputs, example)


def _zipped(
    change: Callable[[Tensor, Tensor], Tensor], inputs: ExampleInputs, example: ExampleInputs
) -> ExampleInputs:
    pairs = zip(inputs.tensors, example.tensors, strict=True)
    return replaced(inputs, [change(tensor, given) for tensor, given in pairs])


def _noise(tensor: Tensor, given: Tensor, generator: torch.Generator) -> Tensor:
    noise = torch.randn(tensor.shape, generator=generator).to(tensor)
    spread = given.std() if given.numel() > 1 else given.new_zeros(())
    noise = noise * torch.where(spread > 0, spread, torch.ones_like(spread)) + given.mean()
    return noise.abs() if bool((given >= 0).all()) and bool(given.any()) else noise


def _integers(tensor: Tensor, low: int, high: int, generator: torch.Generator) -> Tensor:
    values = torch.randint(low, high + 1, tensor.shape, generator=generator)
    return values.to(tensor)


def permuted(inputs: ExampleInputs, seed: int) -> ExampleInputs:
    """Return inputs with the whole numbers of each tensor in another order."""
    generator = torch.Generator().manual_seed(seed)

    def permute(tensor: Tensor, given: Tensor) -> Tensor:
        if kind_of(given) != "integers" or not tensor.dim():
            return tensor
        order = torch.randperm(tensor.numel(), generator=generator).to(tensor.device)
        return tensor.flatten()[order].view(tensor.shape)

    return _zipped(permute, inputs, inputs)


def from_zero(inputs: ExampleInputs, seed: int) -> ExampleInputs:
    """Return inputs whose whole numbers start at zero: padding, and shorter lengths."""
    generator = torch.Generator().manual_seed(seed)

    def draw(tensor: Tensor, given: Tensor) -> Tensor:
        if kind_of(given) != "integers" or int(given.min()) <= 0:
            return tensor
        return _integers(tensor, 0, int(given.max()), generator)

    return _zipped(draw, inputs, inputs)


def mixed_masks(inputs: ExampleInputs, seed: int) -> ExampleInputs:
    """Return inputs whose masks hide about half; at the first position they are as they were."""
    generator = torch.Generator().manual_seed(seed)

    def mix(tensor: Tensor, given: Tensor) -> Tensor:
        kind = kind_of(given)
        if kind not in ("mask", "hiding"):
            return tensor
        shown = (torch.rand(tensor.shape, generator=generator) < 0.5).to(tensor.device)
        if tensor.dim():
            shown[..., 0] = True
        if kind == "hiding":
            return torch.where(shown, torch.zeros_like(tensor), given.min())
        if tensor.dim():  # true may mean that it is hidden, and there may be nothing but the first
            shown[..., 0] = given[..., 0]
        return shown.to(tensor.dtype)

    return _zipped(mix, inputs, inputs)


def filled_masks(inputs: ExampleInputs, *, shown: bool) -> ExampleInputs:
    """Return inputs whose masks hide nothing, or everything; true means shown."""

    def fill(tensor: Tensor, given: Tensor) -> Tensor:
        kind = kind_of(given)
        if kind == "mask":
            return torch.full_like(tensor, shown)
        return torch.zeros_like(tensor) if kind == "hiding" and shown else tensor

    return _zipped(fill, inputs, inputs)


def has(inputs: ExampleInputs, *kinds: Kind) -> bool:
    """Tell whether any tensor is of one of ``kinds``."""
    return any(kind_of(tensor) in kinds for tensor in inputs.tensors)
