"""Relinking: functions and weak references in a copy come to mean the copy.

A deep copy shares both with the original. A hook that is a closure, or a child that knows its
parent weakly, would then read, run and change the original whenever the copy runs.
"""

from __future__ import annotations

import copy
import dis
import weakref
from collections import deque
from collections.abc import Callable, Mapping, Set
from functools import lru_cache, partial
from types import CellType, CodeType, FunctionType, MethodType
from typing import Any, NamedTuple

from torch import nn

from lightning_prune.modules.parts import attributes, everything_in, is_weak, parts


class Relinking:
    """Lets the functions and weak references in a copy refer to the copy.

    What a function uses is copied like everything else. What cannot be copied it goes on sharing:
    unlike an attribute of a module, it need not have to do with the model.

    Args:
        originals: all that the original holds, by id.
        memo: the copies that were made so far, by the id of what they are copies of.
    """

    def __init__(self, originals: Mapping[int, Any], memo: dict[int, Any]) -> None:
        self._originals = originals
        self._memo = memo
        functions = {k: it for k, it in originals.items() if type(it) is FunctionType}
        assigned = {cell for function in functions.values() for cell in _assigned(function)}
        self._functions = {k for k, it in functions.items() if _holds_state(it, assigned)}
        self._references = {key for key, it in originals.items() if is_weak(it)}
        self._made: dict[int, Any] = {}
        self._cells: dict[int, CellType] = {}

    def __call__(self, copied: nn.Module) -> None:
        """Mend ``copied`` and everything that it holds, in place."""
        if self._functions or self._references:
            for holder in everything_in(copied, without=self._originals):
                self._mend(holder)

    def _mend(self, holder: Any) -> None:
        match holder:
            case dict():
                self._mend_items(holder, dict(holder))
            case list() | deque():
                self._mend_items(holder, dict(enumerate(holder)))
            case set():
                mended = [self._mended(value) for value in holder]
                holder.clear()
                holder.update(mended)
            case partial():
                called = self._mended((holder.func, holder.args))
                keywords = {name: self._mended(v) for name, v in holder.keywords.items()}
                holder.__setstate__((*called, keywords, vars(holder)))  # type: ignore[attr-defined]
            case _:
                for name, value in attributes(holder).items():
                    mended = self._mended(value)
                    if mended is not value:
                        object.__setattr__(holder, name, mended)

    def _mend_items(self, holder: Any, items: Mapping[Any, Any]) -> None:
        for key, value in items.items():
            mended = self._mended(value)
            if mended is not value:
                holder[key] = mended

    def _mended(self, value: Any) -> Any:
        """Return what takes the place of ``value`` in the copy; usually it stays."""
        if id(value) in self._made:
            return self._made[id(value)]
        if id(value) in self._functions:
            return self._rebuilt(value)
        if id(value) in self._references:
            return self._referring(value)
        if isinstance(value, MethodType):
            function = self._mended(value.__func__)
            return value if function is value.__func__ else MethodType(function, value.__self__)
        if isinstance(value, tuple):
            items = [self._mended(item) for item in value]
            same = all(new is old for new, old in zip(items, value, strict=True))
            return value if same else tuple.__new__(type(value), items)
        return value

    def _rebuilt(self, function: FunctionType) -> FunctionType:
        """Return a function of the same code that uses copies of what ``function`` uses."""
        closure = tuple(map(self._cell, function.__closure__ or ()))
        made = FunctionType(
            function.__code__, function.__globals__, function.__name__, None, closure
        )
        self._made[id(function)] = made
        for name in ("__annotations__", "__doc__", "__qualname__", "__module__"):
            setattr(made, name, getattr(function, name))
        for name in ("__defaults__", "__kwdefaults__", "__dict__"):
            setattr(made, name, self._own(getattr(function, name)))
        for old, new in zip(function.__closure__ or (), closure, strict=True):
            self._fill(old, new)
        return made

    def _cell(self, cell: CellType) -> CellType:
        """Return the variable in place of another one, the same for all functions that use it."""
        return self._cells.setdefault(id(cell), CellType())

    def _fill(self, old: CellType, new: CellType) -> None:
        try:
            value = old.cell_contents
        except ValueError:  # a variable without a value yet
            return
        try:
            new.cell_contents  # noqa: B018 it raises if nobody has filled it yet
        except ValueError:
            new.cell_contents = None  # against endless recursion: it may hold its own function
            new.cell_contents = self._own(value)

    def _own(self, value: Any) -> Any:
        """Return a copy of what a function uses; the same where it cannot be copied."""
        known = len(self._memo)
        try:
            copied = copy.deepcopy(value, self._memo)
        except Exception:  # whatever the value's own code raises
            while len(self._memo) > known:  # what was copied in part must not be used
                self._memo.popitem()
            copied = value
        return self._mended(copied)

    def _referring(self, reference: Any) -> Any:
        """Return a weak reference to the copy of what ``reference`` refers to, if there is one."""
        refer = _WAYS_TO_REFER.get(type(reference))
        if refer is None:
            return reference
        try:
            referent = refer.target(reference)
        except (ReferenceError, AttributeError):  # it is gone
            return reference
        copied = self._memo.get(id(referent))
        return reference if copied is None else refer.to(copied, reference)


class _Way(NamedTuple):
    """A way to refer weakly: what is referred to, and the same to something else."""

    target: Callable[[Any], Any]
    to: Callable[[Any, Any], Any]


def _method_of(copied: Any, reference: weakref.WeakMethod[Any]) -> weakref.WeakMethod[Any]:
    return weakref.WeakMethod(MethodType(reference().__func__, copied))  # type: ignore[union-attr]


_PROXY = _Way(lambda proxy: proxy.__init__.__self__, lambda copied, old: weakref.proxy(copied))
_WAYS_TO_REFER: dict[type, _Way] = {
    weakref.ReferenceType: _Way(lambda old: old(), lambda copied, old: weakref.ref(copied)),
    weakref.WeakMethod: _Way(lambda old: old().__self__, _method_of),
    **dict.fromkeys(weakref.ProxyTypes, _PROXY),
}


def _holds_state(function: FunctionType, assigned: Set[int]) -> bool:
    """Tell whether a function uses anything that can change, itself or through other functions."""
    seen: set[int] = set()
    waiting = [function]
    while waiting:
        used = waiting.pop()
        seen.add(id(used))
        if not assigned.isdisjoint(map(id, used.__closure__ or ())):
            return True
        for part in parts(used):
            if type(part.value) is not FunctionType:
                return True
            if id(part.value) not in seen:
                waiting.append(part.value)
    return False


def _assigned(function: FunctionType) -> list[int]:
    """Return the ids of the variables of enclosing functions that a function assigns."""
    cells = dict(zip(function.__code__.co_freevars, function.__closure__ or (), strict=True))
    return [id(cells[name]) for name in _names_assigned(function.__code__) if name in cells]


@lru_cache(maxsize=1024)
def _names_assigned(code: CodeType) -> frozenset[str]:
    """Return the free variables that code assigns, functions inside of it included."""
    inner = [_names_assigned(it) for it in code.co_consts if isinstance(it, CodeType)]
    own = {it.argval for it in dis.get_instructions(code) if it.opname == "STORE_DEREF"}
    return frozenset(own.union(*inner) & set(code.co_freevars)) if code.co_freevars else frozenset()
