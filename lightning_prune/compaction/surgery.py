"""Surgery: the only code that replaces tensors and sizes of a user's model.

Parameters and buffers keep their identity, their names and their ties; what they hold is cut.
Every change is written down first, so that all of it can be undone.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from lightning_prune.compaction.plan import Plan
from lightning_prune.compaction.sizes import GROUP_ATTRIBUTES, module_sizes
from lightning_prune.runtime.attention import TensorSizedAttention, can_take_sizes_from_tensors
from lightning_prune.runtime.encoder import TensorSizedEncoder


class _Held(NamedTuple):
    """What a tensor was like before it was changed."""

    tensor: Tensor
    data: Tensor
    gradient: Tensor | None
    requires_grad: bool


class Surgery:
    """Changes to one model that can be undone.

    Args:
        model: the module to change in place.
    """

    def __init__(self, model: nn.Module) -> None:
        self._model = model
        self._tensors: list[_Held] = []
        self._attributes: list[tuple[nn.Module, str, Any]] = []
        self._classes: list[tuple[nn.Module, type[nn.Module]]] = []

    def apply(self, plan: Plan) -> None:
        """Cut every axis that the plan names and bring the sizes in attributes up to date."""
        tensors = dict(self._model.named_parameters()) | dict(self._model.named_buffers())
        cut: dict[str, Tensor] = {}
        with torch.no_grad():
            for axis, positions in plan.kept.items():
                held = cut.get(axis.tensor, tensors[axis.tensor].data)
                cut[axis.tensor] = held.index_select(axis.dim, positions.to(held.device))
        for name, data in cut.items():
            self.replace(tensors[name], data)
        for name, fraction in plan.group_fractions.items():
            module = self._model.get_submodule(name.rpartition(".")[0])
            for attribute in GROUP_ATTRIBUTES:  # if none, its owner counts them in some other way
                groups = getattr(module, attribute, None)
                if isinstance(groups, int):
                    self.set(module, attribute, round(groups * fraction))
        changed = {id(tensors[name]) for name in cut}
        self._free_cut_attention(changed)
        for module in self._model.modules():
            own = [*module.parameters(recurse=False), *module.buffers(recurse=False)]
            sizes = {} if changed.isdisjoint(map(id, own)) else module_sizes(module)
            for attribute, size in sizes.items():
                self.set(module, attribute, size)

    def free_attention(self, module: nn.Module) -> None:
        """Let an attention module take its sizes from its tensors."""
        self.set_class(module, TensorSizedAttention)
        self.set(module, "_qkv_same_embed_dim", False)
        for owner in self._model.modules():
            # With padding, torch would hand its layers nested tensors, for a fused kernel.
            if isinstance(owner, nn.TransformerEncoder) and any(
                m is module for m in owner.modules()
            ):
                self._free_encoder(owner)

    def _free_encoder(self, encoder: nn.TransformerEncoder) -> None:
        """Let an encoder do without nested tensors."""
        if type(encoder) is nn.TransformerEncoder:
            self.set_class(encoder, TensorSizedEncoder)
        else:
            self.set(encoder, "use_nested_tensor", False)

    def _free_cut_attention(self, changed: set[int]) -> None:
        """Do so where something was cut."""
        for module in list(self._model.modules()):
            is_cut = not changed.isdisjoint(map(id, module.parameters()))
            if is_cut and can_take_sizes_from_tensors(module):
                self.free_attention(module)

    def replace(self, tensor: Tensor, data: Tensor) -> None:
        """Let ``tensor`` hold ``data`` from now on; its gradient is dropped.

        What is empty asks for no gradient any more: there is none to wait for.
        """
        self._tensors.append(_Held(tensor, tensor.data, tensor.grad, tensor.requires_grad))
        tensor.grad = None
        layout = _layout(tensor)
        tensor.requires_grad_(tensor.requires_grad and data.numel() > 0)
        _hold(tensor, data.contiguous(memory_format=layout))

    def freeze(self, tensor: Tensor) -> None:
        """Let ``tensor`` ask for no gradient any more."""
        self._tensors.append(_Held(tensor, tensor.data, tensor.grad, tensor.requires_grad))
        tensor.grad = None
        tensor.requires_grad_(False)

    def set(self, module: nn.Module, attribute: str, value: Any) -> None:
        """Set an attribute of a module if it differs."""
        old = getattr(module, attribute)
        if old != value:
            self._attributes.append((module, attribute, old))
            setattr(module, attribute, value)

    def set_class(self, module: nn.Module, kind: type[nn.Module]) -> None:
        """Let ``module`` be of another class, which fits what it holds."""
        if type(module) is not kind:
            self._classes.append((module, type(module)))
            module.__class__ = kind

    def undo(self) -> None:
        """Take back every change, the last one first."""
        while self._classes:
            module, kind = self._classes.pop()
            module.__class__ = kind
        while self._attributes:
            module, attribute, old = self._attributes.pop()
            setattr(module, attribute, old)
        while self._tensors:
            held = self._tensors.pop()
            held.tensor.requires_grad_(held.requires_grad)
            _hold(held.tensor, held.data)
            held.tensor.grad = held.gradient


def _hold(tensor: Tensor, data: Tensor) -> None:
    """Let ``tensor`` hold ``data``, and autograd forget the shape that it had.

    While an output of an earlier forward pass lives, so does the node that accumulates the
    tensor's gradient, and it expects the old shape. A change of type is what makes autograd drop
    it.
    """
    if tensor.requires_grad:
        other = torch.float32 if tensor.dtype != torch.float32 else torch.float64
        tensor.data = torch.empty(0, dtype=other, device=tensor.device)
    tensor.data = data


def _layout(tensor: Tensor) -> torch.memory_format:
    """Return the memory format of a tensor: channels last stays channels last."""
    by_rank = {4: torch.channels_last, 5: torch.channels_last_3d}
    wanted = by_rank.get(tensor.dim(), torch.contiguous_format)
    plain = tensor.is_contiguous() or not tensor.is_contiguous(memory_format=wanted)
    return torch.contiguous_format if plain else wanted
