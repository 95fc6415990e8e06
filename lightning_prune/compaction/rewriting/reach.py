"""Reach: which methods of a model's modules may run when its ``forward`` is called.

Names decide: what a method that may run names, as an attribute or as a function, may run, too. More
is found than runs in truth, and nothing that no code on the way names.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from types import CodeType, FunctionType
from typing import Any

from torch import nn

from lightning_prune.compaction.rewriting.rewrite import names_of, own_methods_in
from lightning_prune.compaction.rewriting.source import Source, cell_contents, method_of
from lightning_prune.coupling.sites import is_torch, is_torch_layer, unwrapped
from lightning_prune.errors import RewriteError
from lightning_prune.runtime.swaps import CLASSES


class Reach:
    """What may run.

    Args:
        model: the model.
        entries: the methods that are called from outside.
    """

    def __init__(self, model: nn.Module, entries: Iterable[str] = ("forward",)) -> None:
        self._kinds = {type(module) for module in model.modules()} | set(CLASSES)
        held = [own_methods_in(module) for module in model.modules()]
        self._held = {pair for methods in held for pair in methods.items()}
        self._names = self._also_held(entries)
        self._codes: set[CodeType] = set()
        waiting = list(self._functions(self._names))
        while waiting:
            function = waiting.pop()
            if function.__code__ not in self._codes and _is_users(function.__code__):
                self._codes.add(function.__code__)
                names = self._also_held(_names(function.__code__)) - self._names
                self._names |= names
                waiting += [*self._functions(names), *_called(function)]

    def has(self, kind: type, method: str) -> bool:
        """Tell whether a method of a class may run, by whatever name the class knows it."""
        if not _defines(kind, method):
            return False
        return not self._names.isdisjoint(names_of(kind, method))

    def sources(self, kind: type) -> Iterator[Source]:
        """Return the methods of a class that may run, as far as they have source."""
        for name in sorted(self._names):
            if _defines(kind, name):
                try:
                    source = method_of(kind, name)
                    source.tree  # noqa: B018 it may not be readable
                except RewriteError:
                    continue
                if source.function.__code__.co_argcount:
                    yield source

    def _also_held(self, names: Iterable[str]) -> set[str]:
        """Return names, and those of the methods that modules hold in attributes of these names."""
        found = set(names)
        return found | {method for attribute, method in self._held if attribute in found}

    def _functions(self, names: Iterable[str]) -> Iterator[FunctionType]:
        """Return everything that the classes of the modules know by these names."""
        for kind in self._kinds:
            for base in kind.__mro__:
                for name in names:
                    if name in vars(base) and base is not nn.Module:
                        yield from _function(vars(base)[name])


def _defines(kind: type, name: str) -> bool:
    """Tell whether a class has a method that is not the one that every module has."""
    owner = next((base for base in kind.__mro__ if name in vars(base)), nn.Module)
    return owner is not nn.Module


def _is_users(code: CodeType) -> bool:
    return not is_torch(code) or is_torch_layer(code)


def _called(function: FunctionType) -> Iterator[FunctionType]:
    """Return the functions that a function names as variables from outside."""
    for name in _names(function.__code__):
        yield from _function(function.__globals__.get(name))
    for cell in function.__closure__ or ():
        yield from _function(cell_contents(cell))


def _function(value: Any) -> Iterator[FunctionType]:
    try:
        found = unwrapped(value)
    except Exception:  # whatever an object makes of being looked at
        return
    for one in (value, found):
        if isinstance(one, FunctionType):
            yield one


def _names(code: CodeType) -> Iterator[str]:
    """Return every name that a function uses, also as a string, and those of functions inside."""
    yield from code.co_names
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _names(constant)
        elif isinstance(constant, str) and constant.isidentifier():
            yield constant
