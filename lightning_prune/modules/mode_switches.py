"""Mode switches: which parameters a model writes to as it is put in train or eval mode.

An adapter merges its weights into those of the layer beside it for eval mode, say, and takes them
out again for train mode.
"""

from __future__ import annotations

from collections import defaultdict
from typing import Any

import torch
from torch import nn
from torch._ops import OpOverload
from torch.utils._python_dispatch import TorchDispatchMode
from typing_extensions import override

from lightning_prune.modules.operations import memory_of, written_tensors

_PACKAGES = ("torch", "torchvision", "lightning", "pytorch_lightning", "torchmetrics")
"""Their modules write to no parameter as they are switched."""


def has_own_switch(model: nn.Module) -> bool:
    """Tell whether a module in ``model`` runs code of its own as it is switched."""
    kinds: set[Any] = {type(module) for module in model.modules()}
    switches = [switch for kind in kinds for switch in (kind.train, kind.eval)]
    return any(switch.__module__.partition(".")[0] not in _PACKAGES for switch in switches)


def written_by_switches(model: nn.Module) -> frozenset[str]:
    """Return the names of the parameters that are written to as a model is switched.

    Args:
        model: a copy; it is put in both modes.
    """
    with torch.inference_mode(False), torch.no_grad(), _Writes(model) as writes:
        model.eval().train().eval()
    return frozenset(writes.names)


class _Writes(TorchDispatchMode):
    """Notes the names of the parameters in whose memory operations write."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.names: set[str] = set()
        self._by_memory: dict[int, list[str]] = defaultdict(list)
        for name, parameter in model.named_parameters():
            self._by_memory[memory_of(parameter)].append(name)

    @override
    def __torch_dispatch__(
        self, func: OpOverload, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        for tensor in written_tensors(func, args, kwargs or {}):
            self.names.update(self._by_memory.get(memory_of(tensor), ()))
        return func(*args, **(kwargs or {}))
