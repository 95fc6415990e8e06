"""Surgery: the only code that replaces tensors and sizes of a user's model.

Parameters and buffers keep their identity, their names and their ties; what they hold is cut.
Every change is written down first, so that all of it can be undone.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from lightning_prune.compaction.plan import Plan
from lightning_prune.compaction.sizes import module_sizes


class Surgery:
    """Changes to one model that can be undone.

    Args:
        model: the module to change in place.
    """

    def __init__(self, model: nn.Module) -> None:
        self._model = model
        self._tensors: list[tuple[Tensor, Tensor, Tensor | None]] = []
        self._attributes: list[tuple[nn.Module, str, Any]] = []

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
        for name, fraction in plan.convolution_groups.items():
            module = self._model.get_submodule(name.rpartition(".")[0])
            groups = getattr(module, "groups", None)
            if isinstance(groups, int):  # else its owner counts them in some other way
                self.set(module, "groups", round(groups * fraction))
        changed = {id(tensors[name]) for name in cut}
        for module in self._model.modules():
            own = [*module.parameters(recurse=False), *module.buffers(recurse=False)]
            sizes = {} if changed.isdisjoint(map(id, own)) else module_sizes(module)
            for attribute, size in sizes.items():
                self.set(module, attribute, size)

    def replace(self, tensor: Tensor, data: Tensor) -> None:
        """Let ``tensor`` hold ``data`` from now on; its gradient is dropped."""
        self._tensors.append((tensor, tensor.data, tensor.grad))
        tensor.grad = None
        tensor.data = data.contiguous()

    def set(self, module: nn.Module, attribute: str, value: Any) -> None:
        """Set an attribute of a module if it differs."""
        old = getattr(module, attribute)
        if old != value:
            self._attributes.append((module, attribute, old))
            setattr(module, attribute, value)

    def undo(self) -> None:
        """Take back every change, the last one first."""
        while self._attributes:
            module, attribute, old = self._attributes.pop()
            setattr(module, attribute, old)
        while self._tensors:
            tensor, data, gradient = self._tensors.pop()
            tensor.data = data
            tensor.grad = gradient
