"""A twin: the same model a second time, over the same parameters.

A twin has its own modules, training flags, hooks, caches and buffers; only its parameters are views
of the original's memory. What runs on a twin leaves the user's model untouched, and a later
replacement of the original's tensors leaves the twin as it was.
"""

from __future__ import annotations

import copy
from typing import TypeVar

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

_Model = TypeVar("_Model", bound=nn.Module)


def twin(model: _Model) -> _Model:
    """Return a structural copy of ``model`` whose parameters share the memory of the original's.

    Tied parameters stay tied. Buffers are copied, because eval mode alone does not protect them: a
    key-value cache is written in every forward pass, and a module that overrides ``train`` may keep
    its batch norm counting. Tensors kept as plain attributes of modules are shared.

    Args:
        model: any module.

    Returns:
        A module of the same class, in the same modes, on the same device.

    Raises:
        TypeError: if the module holds something that cannot be copied.
        ValueError: if a parameter or buffer has no size yet.
    """
    _require_sizes(model)
    memo: dict[int, object] = {}
    for module in model.modules():
        for tensor in vars(module).values():
            if isinstance(tensor, Tensor):
                memo[id(tensor)] = tensor
    for parameter in model.parameters():
        memo[id(parameter)] = nn.Parameter(parameter.detach(), parameter.requires_grad)
    for buffer in model.buffers():
        memo[id(buffer)] = buffer.detach().clone()
    try:
        with torch.no_grad():
            copied = copy.deepcopy(model, memo)
    except (TypeError, RuntimeError, ValueError) as error:  # locks, files, generators, graphs
        raise TypeError(
            f"Expected `model` to be something that copy.deepcopy copies, but got "
            f"{type(model).__name__}, which raised {type(error).__name__}: {error}. Let the model "
            "not hold it, or make it there on first use."
        ) from error
    for module in copied.modules():
        _forget_compiled_calls(module)
    return copied


def _require_sizes(model: nn.Module) -> None:
    for name, tensor in [*model.named_parameters(), *model.named_buffers()]:
        if is_lazy(tensor):
            raise ValueError(
                f"Expected `model` to hold tensors of known sizes, but got {name}, which a lazy "
                "module has not made yet. Run the model once on real inputs first."
            )


def _forget_compiled_calls(module: nn.Module) -> None:
    """Make ``module`` run its own code.

    ``torch.compile`` of a LightningModule stores closures over the *original* module in its
    ``__dict__``. They survive a copy, which would then run, and train, the original.
    """
    vars(module).pop("_compiled_call_impl", None)
    if hasattr(vars(module).get("forward"), "_torchdynamo_orig_callable"):
        del vars(module)["forward"]
        wrapped = module._modules.get("_orig_mod")
        if wrapped is not None:  # the wrapper that ``torch.compile`` returns has no own forward
            vars(module)["forward"] = wrapped.__call__
