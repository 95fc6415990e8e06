"""Twins and clones: the same model a second time, over the same parameters or over its own.

A copy has its own modules, training flags, hooks, caches and buffers. What runs on it leaves the
user's model untouched, and a later replacement of the original's tensors leaves it as it was.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, TypeVar
from weakref import WeakKeyDictionary

import torch
from torch import nn

from lightning_prune.modules.copying import copy_model
from lightning_prune.modules.mode_switches import has_own_switch, written_by_switches
from lightning_prune.modules.numbers import require_sizes
from lightning_prune.modules.tensor_copies import TensorCopies, is_parameter

_Model = TypeVar("_Model", bound=nn.Module)

_WRITTEN: WeakKeyDictionary[nn.Module, frozenset[str]] = WeakKeyDictionary()
"""Names of the parameters that models write to as they run or as their mode is switched."""


def note_written(model: nn.Module, names: Iterable[str]) -> None:
    """Let twins of a model, and twins of these, have parameters of these names of their own.

    Args:
        model: writes to them as it runs, as a teacher's weights that follow in ``forward``.
        names: of its parameters.
    """
    _WRITTEN[model] = _written_names(model).union(names)


def twin(model: _Model, dtype: torch.dtype | None = None) -> _Model:
    """Return a structural copy of ``model`` whose parameters share the memory of the original's.

    Everything else is copied, because eval mode alone does not protect it: a key-value cache is
    written in every forward pass, and a module that overrides ``train`` may keep its batch norm
    counting. That holds for buffers and for tensors in attributes and containers alike; what
    shares memory with a parameter goes on doing so. Parameters that a forward pass may write to,
    as those of an embedding with ``max_norm`` and those of `note_written`, or that it writes to as
    it is put in another mode, are copied too.

    Args:
        model: any module.
        dtype: a floating type to which every floating tensor is brought, complex ones to the type
            that belongs to it; None to leave types as they are. A parameter of another type is
            converted, and so lies in memory of its own.

    Returns:
        A module of the same class, in the same modes, on the same device. Activations that it
        holds are without their graphs.

    Raises:
        TypeError: if the module holds something that cannot be copied.
        ValueError: if a parameter or buffer has no size yet.
    """
    written = {id(p) for m in model.modules() for p in _written_by(m)}
    names = _written_names(model)
    written |= {id(p) for name, p in model.named_parameters() if name in names} if names else set()
    copied = _copied(
        model,
        TensorCopies(lambda t: is_parameter(t) and id(t) not in written, dtype),
    )
    _WRITTEN[copied] = names
    return copied


def clone(model: _Model, dtype: torch.dtype | None = None) -> _Model:
    """Return a copy of ``model`` that shares nothing with it.

    Args:
        model: any module.
        dtype: as of `twin`.

    Returns:
        A module of the same class, in the same modes, on the same device.

    Raises:
        TypeError: if the module holds something that cannot be copied.
        ValueError: if a parameter or buffer has no size yet.
    """
    copied = _copied(model, TensorCopies(lambda tensor: False, dtype))
    if model in _WRITTEN:
        _WRITTEN[copied] = _WRITTEN[model]
    return copied


def _written_names(model: nn.Module) -> frozenset[str]:
    """Return what is noted of a model, and what it writes to as it is switched, by name."""
    if model not in _WRITTEN:
        switches = written_by_switches(clone(model)) if has_own_switch(model) else frozenset[str]()
        _WRITTEN[model] = switches
    return _WRITTEN[model]


def _copied(model: _Model, copies: TensorCopies) -> _Model:
    require_sizes(model)
    copied = copy_model(model, copies)
    if copies.dtype is not None:
        _convert_the_rest(copied, copies.dtype)
    return copied


def _convert_the_rest(model: nn.Module, dtype: torch.dtype) -> None:
    """Convert what lies beyond Python, and what modules remember of their type."""
    for module in model.modules():
        if isinstance(module, torch.jit.ScriptModule):
            module.to(dtype)
        known: Any = vars(module).get("_dtype")  # as a LightningModule and a metric keep it
        if isinstance(known, torch.dtype) and known.is_floating_point:
            vars(module)["_dtype"] = dtype


def _written_by(module: nn.Module) -> list[nn.Parameter]:
    """Return the parameters that a module may write to in its forward pass."""
    kind: Any = type(module)
    has_one = "max_norm" in vars(module) or hasattr(kind, "max_norm")  # a module answers no slowly
    return list(module.parameters(recurse=False)) if has_one and module.max_norm else []
