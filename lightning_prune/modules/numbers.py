"""Sizes and numbers: what a model must hold before it is copied, zeroed or becomes smaller."""

from __future__ import annotations

from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensor
from torch.nn.parameter import is_lazy


def require_sizes(model: nn.Module) -> None:
    """Refuse a model whose tensors have not all been made yet.

    Args:
        model: any module.

    Raises:
        ValueError: if a parameter or buffer has no size.
    """
    held = [values for m in model.modules() for values in (m._parameters, m._buffers)]
    if not any(is_lazy(tensor) for values in held for tensor in values.values()):  # type: ignore[arg-type]
        return  # names take longer
    for name, tensor in _tensors(model):
        if is_lazy(tensor):
            raise ValueError(
                f"Expected `model` to hold tensors of known sizes, but got {name}, which a lazy "
                "module has not made yet. Run the model once on real inputs first."
            )


def require_numbers(model: nn.Module) -> None:
    """Refuse a model that has shapes only, or whose numbers cannot be written to.

    Args:
        model: any module.

    Raises:
        ValueError: if a parameter or buffer has no size, is fake or on the meta device, or a
            parameter that is trained was made in inference mode.
    """
    require_sizes(model)
    for name, tensor in _tensors(model):
        if isinstance(tensor, FakeTensor) or tensor.is_meta:
            raise ValueError(
                f"Expected `model` to hold numbers, but got {name}, which has a shape only. Load "
                "its weights first; `couple` alone works without."
            )
        if tensor.requires_grad and tensor.is_inference():
            raise ValueError(
                f"Expected `model` to hold numbers that can be written to, but got {name}, which "
                "was made in inference mode. Make or load the model outside of it."
            )


def _tensors(model: nn.Module) -> list[tuple[str, Tensor]]:
    return [*model.named_parameters(), *model.named_buffers()]
