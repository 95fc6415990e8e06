"""The full size: what a model was before compactions, into which its weights can be put back."""

from __future__ import annotations

from typing import Generic, TypeVar

import torch
from torch import Tensor, nn

from lightning_prune.compaction.records import plan_of
from lightning_prune.compaction.remaining import Remaining
from lightning_prune.modules.directions import directions_of
from lightning_prune.modules.names import tensors_by_any_name
from lightning_prune.modules.twin import twin

_Model = TypeVar("_Model", bound=nn.Module)


class FullSize(Generic[_Model]):
    """The structure of a model of full size, and its buffers, but not its parameters.

    Args:
        model: a model that is not compact.
    """

    def __init__(self, model: _Model) -> None:
        self._structure = twin(model)
        self._shapes = [parameter.shape for parameter in self._structure.parameters()]
        for parameter in self._structure.parameters():
            parameter.data = parameter.data.new_empty(0)

    def zeros(self) -> _Model:
        """Return a copy of the model with zeros for parameters."""
        model = twin(self._structure)
        for parameter, shape in zip(model.parameters(), self._shapes, strict=True):
            parameter.data = torch.zeros(shape, dtype=parameter.dtype, device=parameter.device)
        return model

    @torch.no_grad()
    def masked(self, compact: nn.Module) -> _Model:
        """Return the masked model that a compact one stands for.

        Args:
            compact: what compactions have made of the model; it stays as it is.

        Returns:
            A model of full size on the same device, with the weights and buffers of the compact
            one; parameters that were removed are zero, but for directions of a weight norm, which
            have none if they are zero.
        """
        model, device = self.zeros(), next(compact.parameters()).device
        model.to(device).train(compact.training)
        remaining = Remaining(plan_of(compact).axes, compact)
        full = tensors_by_any_name(model)
        for name, tensor in tensors_by_any_name(compact).items():
            if name in full:
                full[name].data = full[name].data.to(tensor.dtype)  # a precision may be chosen late
                full[name].data.copy_(remaining.widened(name, tensor.detach(), full[name].data))
        for name, parameter in compact.named_parameters():
            model.get_parameter(name).requires_grad_(parameter.requires_grad)
        for direction, dim in directions_of(model):
            nothing = torch.norm_except_dim(direction, 2, dim) == 0
            direction.data = torch.where(nothing, _direction_like(direction, dim), direction)
        return model


def _direction_like(directions: Tensor, dim: int) -> Tensor:
    """Return ones where any of the directions is not zero, so that inputs that are gone stay so."""
    present = (directions != 0).any(dim, keepdim=True) | (not directions.any())
    return present.to(directions.dtype)
