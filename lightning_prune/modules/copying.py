"""Copying: the one way in which a model is copied.

A copy has its own modules and all that these hold, in whatever containers: activations with their
graphs, caches, step outputs, metrics, hooks, closures. How a tensor is copied differs from caller
to caller. The original is not changed.

Trainers, loggers, data loaders, datasets and process groups are no part of a model: a copy refers
to the same ones. A copy of a LightningModule logs nothing.
"""

from __future__ import annotations

import copy
from collections import OrderedDict
from collections.abc import Callable, Mapping
from functools import lru_cache
from types import BuiltinFunctionType, CodeType
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy
from torch.overrides import TorchFunctionMode
from torch.utils.hooks import RemovableHandle
from typing_extensions import override

from lightning_prune.modules.fake import real
from lightning_prune.modules.parts import (
    COMPILED_CALL,
    Part,
    everything_in,
    is_outside_kind,
    is_usual,
    is_weak_kind,
    parts,
)
from lightning_prune.modules.relinking import Relinking
from lightning_prune.modules.seeding import seeded
from lightning_prune.modules.tensor_copies import is_parameter, is_plain
from lightning_prune.modules.trainers import attach_like

_Model = TypeVar("_Model", bound=nn.Module)
_CopyTensor = Callable[[Tensor], Tensor]
_ATOMIC = {
    *(type(None), bool, int, float, complex, str, bytes, range, type, property),
    *(BuiltinFunctionType, CodeType, torch.dtype, torch.device, torch.Size),
}
"""Types of what is its own copy."""

_LONGEST_WAY = 30
"""Steps from a model to what cannot be copied; what is nested too deeply has no innermost part."""


def copy_model(model: _Model, copy_tensor: _CopyTensor) -> _Model:
    """Return a copy of ``model``.

    Args:
        model: any module.
        copy_tensor: returns the copy of a tensor; it is asked once for each, for parameters first.

    Returns:
        A module of the same class, in the same modes. Tensors are leaves of no graph.

    Raises:
        TypeError: if the module holds something that cannot be copied.
    """
    held = {id(it): it for it in everything_in(model)}
    with real(), torch.inference_mode(False), torch.no_grad():
        known = {key: it for key, it in held.items() if _stays(it)}
        for key, it in held.items():
            if key not in known and is_parameter(it) and not is_lazy(it):
                known[key] = copy_tensor(it)
        memo, tensors = dict(known), _Tensors(copy_tensor)
        copied = _deepcopy(model, memo, known, tensors)
        with tensors:
            for module in copied.modules():
                _forget_compiled_calls(module)
            attach_like([it for it in held.values() if issubclass(type(it), nn.Module)], memo)
            Relinking(held, memo)(copied)
    return copied


def _deepcopy(
    model: _Model, memo: dict[int, Any], known: Mapping[int, Any], tensors: _Tensors
) -> _Model:
    try:
        with seeded(0):  # a way of copying of its own may make a new model
            _ModuleCopies(memo, tensors).add(model)
            with tensors:
                return copy.deepcopy(model, memo)
    except Exception as error:  # whatever the code of what the model holds raises
        raise TypeError(_refusal(model, known, error)) from error


def _stays(value: Any) -> bool:
    """Tell whether a copy refers to the very same object."""
    kind: Any = type(value)
    if kind is RemovableHandle:
        return value.hooks_dict_ref() is None  # of a hook of a module that is gone
    return _stay(kind)


@lru_cache(maxsize=1024)
def _stay(kind: Any) -> bool:
    return is_weak_kind(kind) or is_outside_kind(kind)


class _Tensors(TorchFunctionMode):
    """Lets deepcopy copy tensors in a way of our own, wherever it comes upon them."""

    def __init__(self, copy_tensor: _CopyTensor) -> None:
        super().__init__()
        self._copy_tensor = copy_tensor

    @override
    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is not Tensor.__deepcopy__:
            return func(*args, **(kwargs or {}))
        return self.copied(*args)

    def copied(self, tensor: Tensor, memo: dict[int, Any]) -> Tensor:
        """Return the copy of a tensor, with copies of its attributes."""
        if id(tensor) not in memo:
            made = memo[id(tensor)] = self._copy_tensor(tensor)
            if is_plain(made) and vars(tensor):
                with self:  # for the tensors among its attributes
                    vars(made).update(copy.deepcopy(vars(tensor), memo))
        found: Tensor = memo[id(tensor)]
        return found


class _ModuleCopies:
    """Copies modules as `copy.deepcopy` does, in a fraction of its time.

    Only those whose class says nothing of its own about copies; what they hold besides numbers,
    tensors and modules is left to `copy.deepcopy`.

    Args:
        memo: the copies that were made so far, by the id of what they are copies of.
        tensors: copies tensors.
    """

    def __init__(self, memo: dict[int, Any], tensors: _Tensors) -> None:
        self._memo = memo
        self._tensors = tensors

    def add(self, model: nn.Module) -> None:
        """Make the copies of a model and of the modules in it, as far as they are of this kind."""
        new = [it for it in model.modules() if id(it) not in self._memo]
        usual = [it for it in new if _is_usual(it)]
        for module in usual:
            kind: Any = type(module)
            self._memo[id(module)] = kind.__new__(kind)
        for module in reversed(usual):  # those inside of others first
            self._memo[id(module)].__setstate__(self._state_of(module))

    def _state_of(self, module: nn.Module) -> dict[str, Any]:
        """Return a copy of the attributes of a module; empty dicts are what it has most of."""
        memo, state = self._memo, dict[str, Any]()
        for name, value in vars(module).items():
            kind, key = type(value), id(value)
            if kind in _ATOMIC:
                state[name] = value
            elif key in memo:
                state[name] = memo[key]
            elif kind is OrderedDict and not value and not value.__dict__:
                state[name] = memo[key] = OrderedDict()
            elif name != COMPILED_CALL:
                state[name] = self._new(value)
        return state

    def _copied(self, value: Any) -> Any:
        if type(value) in _ATOMIC:
            return value
        key = id(value)
        return self._memo[key] if key in self._memo else self._new(value)

    def _new(self, value: Any) -> Any:
        """Return the copy of what was not copied yet."""
        kind = type(value)
        if kind is Tensor:
            return self._tensors.copied(value, self._memo)
        is_dict = kind is dict or (kind is OrderedDict and not value.__dict__)
        if is_dict and _ATOMIC.issuperset(map(type, value)):
            made = self._memo[id(value)] = kind()
            for name, one in value.items():
                made[name] = self._copied(one)
            return made
        if kind in (list, tuple, set) and _ATOMIC.issuperset(map(type, value)):
            made = self._memo[id(value)] = kind(value)  # a tuple is its own copy
            return made
        with self._tensors:
            return copy.deepcopy(value, self._memo)


def _forget_compiled_calls(module: nn.Module) -> None:
    """Make ``module`` run its own code.

    ``torch.compile`` of a LightningModule stores closures over the *original* module in its
    ``__dict__``, of its steps, too. They survive a copy, which would then run, and train, the
    original.
    """
    held = vars(module)
    held.pop(COMPILED_CALL, None)
    kind: Any = type(module)
    callables = _callables_of(kind)
    methods = [name for name in held if name in callables]
    for name in methods:
        if hasattr(held[name], "_torchdynamo_orig_callable"):
            del held[name]
            wrapped = module._modules.get("_orig_mod")
            if wrapped is not None:  # the wrapper that ``torch.compile`` returns has no own forward
                held[name] = wrapped.__call__


def _is_usual(module: nn.Module) -> bool:
    kind: Any = type(module)
    return is_usual(kind)


@lru_cache(maxsize=1024)
def _callables_of(kind: Any) -> frozenset[str]:
    return frozenset(name for name in dir(kind) if callable(getattr(kind, name, None)))


def _refusal(model: nn.Module, known: Mapping[int, Any], error: Exception) -> str:
    """Return the message for a model that holds something that cannot be copied."""
    found = _culprit(model, known)
    kind = type(found.value)
    what = f"which holds `{found.label[1:]}`, of type {kind.__module__}.{kind.__qualname__}"
    if found.value is model:
        what = "whose own way of being copied fails"
    return (
        f"Expected `model` to be something that can be copied, but got {type(model).__name__}, "
        f"{what}: {type(error).__name__}: {error}. Keep that outside of the model, or give its "
        "owner a `__deepcopy__` or `__getstate__` that leaves it out."
    )


def _culprit(model: nn.Module, known: Mapping[int, Any]) -> Part:
    """Return the innermost object that cannot be copied, with the way to it."""
    found = Part("", model)
    memo = dict(known)
    for _ in range(_LONGEST_WAY):
        memo[id(found.value)] = found.value  # what refers back to it is not at fault
        inner = next((part for part in parts(found.value) if not _is_copied(part, memo)), None)
        if inner is None:
            break
        found = Part(found.label + inner.label, inner.value)
    return found


def _is_copied(part: Part, memo: Mapping[int, Any]) -> bool:
    try:
        copy.deepcopy(part.value, dict(memo))
    except Exception:  # whatever the code of the part raises
        return False
    return True
