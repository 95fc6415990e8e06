"""Parts: what an object holds, as far as a deep copy of it would copy that too.

Besides what ``copy.deepcopy`` enters (attributes, slots, containers, bound methods), these are the
variables and defaults of functions, which deepcopy shares. Nothing here changes or copies anything.
"""

from __future__ import annotations

import copyreg
import weakref
from collections import OrderedDict, deque
from collections.abc import Container, Iterable, Iterator
from functools import lru_cache, partial
from types import (
    BuiltinFunctionType,
    CodeType,
    FunctionType,
    MethodType,
    MethodWrapperType,
    ModuleType,
)
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

_CONSTANT = {
    *(type(None), type(...), type(NotImplemented), bool, int, float, complex, str, bytes, range),
    *(type, ModuleType, BuiltinFunctionType, MethodWrapperType, CodeType, property),
    *(torch.dtype, torch.device, torch.Size, torch.layout, torch.memory_format),
}
_LISTS = {list, tuple, set}
_CONTAINERS = {dict, OrderedDict, *_LISTS}
_WEAK: tuple[type, ...] = (weakref.ReferenceType, *weakref.ProxyTypes)
_LIGHTNING = {"lightning", "pytorch_lightning", "lightning_fabric"}
_AROUND_MODELS = {
    *("Trainer", "Fabric", "LightningDataModule", "Logger", "Profiler", "Strategy"),
    "LightningOptimizer",
}
_DISTRIBUTED = ("torch.distributed", "torch._C._distributed")
COMPILED_CALL = "_compiled_call_impl"
"""The attribute of a module in which ``torch.compile`` keeps the compiled one."""

_REGISTERED = frozenset({"_parameters", "_buffers", "_modules"})
_CLASSES = 4096
"""How many classes to remember something about; models have a hundred or so."""


class Part(NamedTuple):
    """Something that an object holds.

    Args:
        label: how it is reached from there, such as ``.cache`` or ``[3]``.
        value: what it is.
    """

    label: str
    value: Any


def parts(holder: Any) -> Iterator[Part]:
    """Return what an object holds directly, but for constants such as numbers, texts and classes.

    Args:
        holder: any object.

    Yields:
        Its parts; none of a tensor, and of what a copy shares or copies in a way of its own.
    """
    if is_outside(holder) or is_weak(holder) or isinstance(holder, Tensor):
        return
    if not _is_constant(type(holder)):
        for label, value in _labelled(holder):
            if not _is_constant(type(value)):
                yield Part(label, value)


def everything_in(model: nn.Module, without: Container[int] = ()) -> Iterator[Any]:
    """Return a module and all that it holds, directly or through other objects.

    Args:
        model: any module.
        without: ids of objects to leave out, with what they hold.

    Yields:
        Every object once, but for containers that are empty or hold constants alone. What it holds
        is looked at only after that.
    """
    seen = {id(model): model}  # and kept, so that no other object gets the same id
    waiting: list[Any] = [model]
    while waiting:
        holder = waiting.pop()
        yield holder
        for value in _held_by(holder):
            key = id(value)
            if not (key in seen or key in without):
                seen[key] = value
                waiting.append(value)


def _held_by(holder: Any) -> Iterable[Any]:
    """Return the values of `parts` that hold something, without labels, which take long."""
    kind = type(holder)
    if issubclass(kind, Tensor):
        return ()
    if not issubclass(kind, nn.Module):  # a weak proxy claims to be what it refers to
        return [part.value for part in parts(holder) if not _holds_nothing(part.value)]
    values: list[Any] = []
    for name, value in vars(holder).items():
        if _holds_nothing(value):  # most of what a module has
            continue
        if name in _REGISTERED and isinstance(value, dict):
            values += value.values()
        elif name != COMPILED_CALL:
            values.append(value)
    return [value for value in values if not _is_constant(type(value))]


def _holds_nothing(value: Any) -> bool:
    """Tell whether something is a constant, or a plain container of nothing else."""
    kind = type(value)
    if kind not in _CONTAINERS or not value:
        return kind in _CONTAINERS or kind in _CONSTANT
    return kind in _LISTS and _CONSTANT.issuperset(map(type, value))


def is_outside(value: Any) -> bool:
    """Return whether something is no part of a model, even where the model holds it.

    These are trainers with what belongs to them, data, and what connects processes: a copy refers
    to the same ones.
    """
    kind: Any = type(value)
    return is_outside_kind(kind)


def is_weak(value: Any) -> bool:
    """Return whether something is a weak reference, perhaps to nothing any more."""
    return is_weak_kind(type(value))  # a proxy claims to be what it refers to


def is_weak_kind(kind: type) -> bool:
    """Return whether objects of a class are weak references."""
    return issubclass(kind, _WEAK)


def _is_constant(kind: type) -> bool:
    """Tell whether objects of a class never change and hold nothing."""
    return kind in _CONSTANT or issubclass(kind, type)


@lru_cache(maxsize=_CLASSES)
def is_outside_kind(kind: Any) -> bool:
    """Return whether objects of a class are no part of a model: see `is_outside`."""
    if issubclass(kind, (nn.Module, Tensor)):
        return False
    return str(kind.__module__).startswith(_DISTRIBUTED) or any(
        str(base.__module__).startswith("torch.utils.data")
        or (
            str(base.__module__).partition(".")[0] in _LIGHTNING and base.__name__ in _AROUND_MODELS
        )
        for base in kind.__mro__
    )


def _labelled(holder: Any) -> Iterator[tuple[str, Any]]:
    match holder:
        case nn.Module():
            yield from _of_module(holder)
        case FunctionType():
            yield from _of_function(holder)
        case MethodType():
            yield ".__func__", holder.__func__
            yield ".__self__", holder.__self__
        case partial():
            yield from ((".func", holder.func), (".args", holder.args))
            yield ".keywords", holder.keywords
        case _:
            yield from _contents(holder)
            kind: Any = type(holder)
            if not _is_opaque(kind):
                yield from ((f".{name}", value) for name, value in attributes(holder).items())


def _of_module(module: nn.Module) -> Iterator[tuple[str, Any]]:
    for name, value in vars(module).items():
        if name in _REGISTERED and isinstance(value, dict):
            yield from ((f".{key}", registered) for key, registered in value.items())
        elif name != COMPILED_CALL:
            yield f".{name}", value


def _of_function(function: FunctionType) -> Iterator[tuple[str, Any]]:
    if hasattr(function, "_torchdynamo_orig_callable"):  # the machinery of a compiled one
        return
    yield from ((f".{name}", value) for name, value in variables(function).items())
    for index, value in enumerate(function.__defaults__ or ()):
        yield f".__defaults__[{index}]", value
    for name, value in (function.__kwdefaults__ or {}).items():
        yield f".__kwdefaults__[{name!r}]", value
    yield from ((f".{name}", value) for name, value in vars(function).items())


def variables(function: FunctionType) -> dict[str, Any]:
    """Return what a function uses of enclosing functions, by name, as far as it is set."""
    found = {}
    for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True):
        try:
            found[name] = cell.cell_contents
        except ValueError:  # a variable without a value yet
            continue
    return found


def _contents(holder: Any) -> Iterator[tuple[str, Any]]:
    """Return what a container contains; keys of a dict that are constants say where."""
    if isinstance(holder, dict):
        for index, (key, value) in enumerate(holder.items()):
            plain = _is_constant(type(key))
            if not plain:
                yield f".keys()[{index}]", key
            if not _is_constant(type(value)):
                yield f"[{key!r}]" if plain else f".values()[{index}]", value
    elif isinstance(holder, (list, tuple, deque, set, frozenset)):
        for index, value in enumerate(holder):
            if not _is_constant(type(value)):
                yield f"[{index}]", value


@lru_cache(maxsize=_CLASSES)
def _is_opaque(kind: Any) -> bool:
    """Tell whether objects of a class say in a way of their own how they are copied."""
    return hasattr(kind, "__deepcopy__") or (
        kind.__reduce__ is not object.__reduce__ or kind.__reduce_ex__ is not object.__reduce_ex__
    )


@lru_cache(maxsize=_CLASSES)
def is_usual(kind: Any) -> bool:
    """Return whether a class of modules leaves it to Python how its objects are copied.

    Args:
        kind: any class.
    """
    own = ("__getnewargs__", "__getnewargs_ex__", "__deepcopy__")
    return (
        issubclass(kind, nn.Module)
        and not _is_opaque(kind)
        and not _slots(kind)
        and not any(hasattr(kind, name) for name in own)
        and kind not in copyreg.dispatch_table
        and kind.__getstate__ in {object.__getstate__, nn.Module.__getstate__}
        and not is_outside_kind(kind)
    )


def attributes(holder: Any) -> dict[str, Any]:
    """Return the attributes that an object itself holds, those in slots included."""
    kind: Any = type(holder)
    found = {name: getattr(holder, name) for name in _slots(kind) if hasattr(holder, name)}
    return found | getattr(holder, "__dict__", {})


@lru_cache(maxsize=_CLASSES)
def _slots(kind: Any) -> tuple[str, ...]:
    names: list[str] = []
    for base in kind.__mro__:
        slots = vars(base).get("__slots__", ())
        for name in [slots] if isinstance(slots, str) else slots:
            is_private = name.startswith("__") and not name.endswith("__")
            names.append(f"_{base.__name__.lstrip('_')}{name}" if is_private else name)
    return tuple(name for name in names if name not in {"__dict__", "__weakref__"})
