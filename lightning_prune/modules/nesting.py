"""Nesting: the tensors in whatever holds them, and the same with other tensors in their place.

Besides the containers that torch knows, these are mappings, tuples and lists of a class of their
own, dataclasses, and objects with attributes, such as graphs and batches of texts. Modules and
classes are not looked into; of what a model returns, functions are.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping, MappingView
from functools import partial
from types import FunctionType, MethodType
from typing import Any

from torch import Tensor, nn
from torch.utils._pytree import tree_leaves, tree_map

from lightning_prune.modules.parts import attributes, is_outside, parts


def tensors_in(nested: Any, *, functions: bool = False) -> list[Tensor]:
    """Return every tensor in any nesting, in a stable order.

    Args:
        nested: a tensor, or containers and objects that hold some.
        functions: also those that functions, bound methods, sets and views of dicts hold, of which
            no copies are made.

    Returns:
        The tensors of every type; those of an object that occurs twice once.
    """
    return list(_tensors(nested, {}, _held_by_functions if functions else _held))


def map_tensors(nested: Any, transform: Callable[[Tensor], Tensor]) -> Any:
    """Return the same nesting with every tensor replaced, in the order of `tensors_in`.

    Args:
        nested: a tensor, or containers and objects that hold some; it stays as it is.
        transform: returns what takes the place of a tensor.

    Returns:
        The same tree of containers, and copies of the objects that hold tensors.
    """
    made: dict[int, Any] = {}

    def apply(leaf: Any) -> Any:
        if isinstance(leaf, Tensor):
            return transform(leaf)
        if id(leaf) not in made:
            made[id(leaf)] = leaf
            if next(_tensors(leaf, {}, _held), None) is not None:
                return _rebuilt(leaf, lambda held: tree_map(apply, held), made)
        return made[id(leaf)]

    return tree_map(apply, nested)


def _tensors(nested: Any, seen: dict[int, Any], held: Callable[[Any], Any]) -> Iterator[Tensor]:
    for leaf in tree_leaves(nested):
        if isinstance(leaf, Tensor):
            yield leaf
        elif id(leaf) not in seen:
            seen[id(leaf)] = leaf  # kept, so that no other object gets the same id
            yield from _tensors(held(leaf), seen, held)


def inside_function(leaf: Any) -> list[Any] | None:
    """Return what a function, a bound method, a set or a view of a dict holds; None of others."""
    if isinstance(leaf, MappingView):
        return [*iter(leaf)]  # type: ignore[call-overload] # each of its kinds is iterable
    if isinstance(leaf, (FunctionType, MethodType, partial, set, frozenset)):
        return [part.value for part in parts(leaf)]
    return None


def _held_by_functions(leaf: Any) -> Any:
    inside = inside_function(leaf)
    return _held(leaf) if inside is None else inside


def _held(leaf: Any) -> Any:
    """Return what an object holds, in a container that torch knows."""
    if isinstance(leaf, Mapping):
        return dict(leaf)
    if isinstance(leaf, (tuple, list)):
        return list(leaf)
    is_whole = isinstance(leaf, (nn.Module, type)) or is_outside(leaf)
    return () if is_whole else attributes(leaf)


def _rebuilt(leaf: Any, mapped: Callable[[Any], Any], made: dict[int, Any]) -> Any:
    """Return an object like ``leaf`` that holds what ``mapped`` makes of what that holds."""
    if isinstance(leaf, tuple):
        made[id(leaf)] = tuple.__new__(type(leaf), mapped(_held(leaf)))
        return made[id(leaf)]
    copied = made[id(leaf)] = copy.copy(leaf)
    held = mapped(_held(copied))
    if isinstance(leaf, list):
        copied[:] = held
    elif isinstance(leaf, Mapping):
        for key, value in held.items():
            copied[key] = value
    else:
        for name, value in held.items():
            object.__setattr__(copied, name, value)
    return copied
