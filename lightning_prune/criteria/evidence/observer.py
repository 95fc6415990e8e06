"""The observer: what linear layers and convolutions read, averaged over batches.

Its hooks are on the modules only while it observes; nothing here waits for the device.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd, _ConvTransposeNd
from torch.utils.hooks import RemovableHandle

from lightning_prune.modules.cpu_copies import cpu_copies
from lightning_prune.modules.names import plain_name


def observable(model: nn.Module) -> dict[str, nn.Module]:
    """Return the modules whose inputs can be told apart by channel, by the name of their weight.

    These are linear layers and convolutions that are not grouped.
    """
    return {
        f"{plain_name(name)}.weight": module
        for name, module in model.named_modules()
        if isinstance(module, nn.Linear) or (isinstance(module, _ConvNd) and module.groups == 1)
    }


class Observer:
    """Averages over batches of a function of the inputs of modules.

    A batch in which something is not finite does not count for that module.

    Args:
        modules: the modules, by the name of their weight.
        observe: returns what is averaged, flat, of the inputs of a module and the dimension of
            their channels.
    """

    def __init__(
        self, modules: Mapping[str, nn.Module], observe: Callable[[Tensor, int], Tensor]
    ) -> None:
        self._modules = dict(modules)
        self._observe = observe
        self._sums: dict[str, Tensor] = {}
        self._batches: dict[str, Tensor] = {}
        self._handles: list[RemovableHandle] = []

    @property
    def ready(self) -> bool:
        """Whether every module has read something. Synchronises with the device."""
        return all(name in self._batches for name in self._modules) and all(
            bool(count > 0) for count in self._batches.values()
        )

    def start(self, *, only_training: bool) -> None:
        """Begin to observe, unless that has begun.

        Args:
            only_training: look at forward passes in training mode only.
        """
        if self._handles:
            return
        for name, module in self._modules.items():
            hook = self._hook(name, module, only_training)
            self._handles.append(module.register_forward_pre_hook(hook, with_kwargs=True))

    def stop(self) -> None:
        """Take the hooks away; what was observed stays."""
        for handle in self._handles:
            handle.remove()
        self._handles = []

    def reset(self) -> None:
        """Forget what was observed."""
        self._sums, self._batches = {}, {}

    def means(self) -> dict[str, Tensor]:
        """Return the averages, by the name of the weight."""
        return {name: self._sums[name] / self._batches[name].clamp_min(1) for name in self._modules}

    def like_weight(self, name: str, channels: Tensor) -> Tensor:
        """Return a number for each input channel in a shape that broadcasts to the weight."""
        module = self._modules[name]
        dims = range(_weight(module).dim())
        return channels.view([-1 if dim == _input_dim(module) else 1 for dim in dims])

    def squares_of_weight(self, name: str) -> Tensor:
        """Return the sum of the squares of the weights that read each input channel."""
        module = self._modules[name]
        weight = _weight(module).detach().float().movedim(_input_dim(module), 0)
        return weight.flatten(1).square().sum(1)

    def reduce(self, add_up: Callable[[Tensor], Tensor]) -> None:
        """Add up over ranks what each has observed.

        Args:
            add_up: returns the sum of a tensor over all ranks.
        """
        for name in self._modules:
            nothing = self._nothing(self._modules[name])
            self._sums[name] = add_up(self._sums.get(name, nothing))
            self._batches[name] = add_up(self._batches.get(name, nothing.new_zeros(())))

    def state_dict(self) -> dict[str, dict[str, Tensor]]:
        """Return sums and numbers of batches, copied to the CPU."""
        return {"sums": cpu_copies(self._sums), "batches": cpu_copies(self._batches)}

    def load_state_dict(self, state: Mapping[str, Mapping[str, Tensor]]) -> None:
        """Take over what `state_dict` returned for the same modules."""
        for mine, stored in ((self._sums, state["sums"]), (self._batches, state["batches"])):
            mine.clear()
            for name, value in stored.items():
                mine[name] = value.to(_weight(self._modules[name]).device, copy=True)

    def adopt(self, other: Observer) -> None:
        """Take over what another observer has seen of the same modules."""
        for name in self._modules.keys() & other._sums.keys():
            self._sums[name] = other._sums[name].clone()
            self._batches[name] = other._batches[name].clone()

    def _hook(
        self, name: str, module: nn.Module, only_training: bool
    ) -> Callable[[nn.Module, tuple[Any, ...], dict[str, Any]], None]:
        """Return the hook of one module."""

        @torch.no_grad()
        def look(caller: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            # A copy of the module, as for an average of weights, carries the hook along.
            if caller is not module or (only_training and not caller.training):
                return
            self._add(name, module, args[0] if args else kwargs["input"])

        return look

    def _nothing(self, module: nn.Module) -> Tensor:
        """Return zeros in the shape of what is observed of a module."""
        weight, dim = _weight(module), _input_dim(module)
        inputs = weight.new_zeros((weight.shape[dim], 1), dtype=torch.float32)
        return torch.zeros_like(self._observe(inputs, 0))

    def _add(self, name: str, module: nn.Module, inputs: Tensor) -> None:
        """Add one batch of one module."""
        inputs = inputs.detach()
        dim = inputs.dim() - 1 - (_weight(module).dim() - 2)
        mean = self._observe(inputs, dim)
        finite = mean.isfinite().all()
        mean = torch.where(finite, mean, torch.zeros_like(mean))
        if name in self._sums:
            self._sums[name] += mean
            self._batches[name] += finite
        else:
            self._sums[name], self._batches[name] = mean.clone(), finite.float()


def _weight(module: nn.Module) -> Tensor:
    """Return the weight of a linear layer or convolution."""
    return module.get_parameter("weight")


def _input_dim(module: nn.Module) -> int:
    """Return along which dimension of its weight the inputs lie."""
    return 0 if isinstance(module, _ConvTransposeNd) else 1
