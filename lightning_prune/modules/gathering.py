"""A plain copy of a sharded module: the module as it was before `fully_shard`.

The structure is copied, not the machinery that gathers parameters when they are needed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from lightning_prune.modules.copying import copy_model
from lightning_prune.modules.shards import is_sharded, whole
from lightning_prune.modules.tensor_copies import TensorCopies

_MARKS = ("__composable_api", "_is_fsdp_managed_module", "_fsdp_use_orig_params", "_device_mesh")


def has_shards(module: nn.Module) -> bool:
    """Return whether any parameter of ``module`` is sharded."""
    return any(is_sharded(parameter) for parameter in module.parameters())


def reshard(module: nn.Module) -> None:
    """Let go of gathered parameters, which would not follow a change of the shards.

    Args:
        module: any module; after an evaluation, `fully_shard` may hold some.
    """
    for one in module.modules():
        release = getattr(one, "reshard", None)
        if callable(release):
            release()


def structure_of(module: nn.Module) -> nn.Module:
    """Return a plain copy of a sharded module on the meta device: it has shapes, no numbers.

    Args:
        module: a module whose parameters are sharded by `fully_shard`.

    Returns:
        A module of the original classes.
    """
    reshard(module)
    registered = {id(tensor) for tensor in (*module.parameters(), *module.buffers())}

    def without_numbers(tensor: Tensor) -> Tensor:
        if id(tensor) not in registered and tensor.dim() == 0:
            return tensor.detach().clone()  # a number, which a forward pass may ask for
        return _like(tensor, torch.empty(tensor.shape, dtype=tensor.dtype, device="meta"))

    return _copy(module, without_numbers)


def gather(module: nn.Module, *, keep: bool) -> nn.Module | None:
    """Gather the parameters of a sharded module; all ranks must call this together.

    Args:
        module: a module whose parameters are sharded by `fully_shard`.
        keep: whether this rank wants the result.

    Returns:
        A plain copy on the CPU with all parameters; None on ranks that do not keep it.
    """
    reshard(module)
    gathered: dict[int, Tensor] = {}
    for parameter in module.parameters():  # one at a time, for those that do not keep them
        full = whole(parameter.detach())
        if keep:
            gathered[id(parameter)] = _like(parameter, full.cpu().clone())
    if not keep:
        return None
    copies = TensorCopies(lambda tensor: False)

    def on_cpu(tensor: Tensor) -> Tensor:
        found = gathered.get(id(tensor))
        return _like(tensor, copies(tensor).cpu()) if found is None else found

    return _copy(module, on_cpu)


def _like(tensor: Tensor, data: Tensor) -> Tensor:
    """Return ``data`` as a parameter if ``tensor`` is one."""
    if isinstance(tensor, nn.Parameter):
        return nn.Parameter(data, tensor.requires_grad)
    return data


def _copy(module: nn.Module, copy_tensor: Callable[[Tensor], Tensor]) -> nn.Module:
    """Copy a module without what `fully_shard` has added."""
    with _bare(module):
        return copy_model(module, copy_tensor)


@contextmanager
def _bare(module: nn.Module) -> Iterator[None]:
    """Take away for a moment what `fully_shard` has added: classes, hooks and attributes."""
    undo: list[tuple[nn.Module, type, dict[str, Any]]] = []
    try:
        for one in module.modules():
            undo.append((one, type(one), dict(vars(one))))
            if hasattr(type(one), "reshard"):  # FSDPLinear(FSDPModule, Linear) -> Linear
                one.__class__ = type(one).__mro__[2]
            for name in [name for name in vars(one) if name.startswith(_MARKS)]:
                vars(one)[name] = None
            for hooks in ("_forward_hooks", "_forward_pre_hooks"):
                vars(one)[hooks] = {
                    key: hook for key, hook in vars(one)[hooks].items() if not _is_sharding(hook)
                }
        yield
    finally:
        for one, kind, attributes in undo:
            one.__class__ = kind
            vars(one).clear()
            vars(one).update(attributes)


def _is_sharding(hook: object) -> bool:
    """Return whether a hook belongs to the machinery of `fully_shard`."""
    owner = type(getattr(hook, "__self__", None))
    return "fsdp" in owner.__module__
