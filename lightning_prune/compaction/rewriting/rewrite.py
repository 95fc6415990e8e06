"""Rewriting: a module's class, with some calls in the source of its methods corrected.

A size that a module keeps in a local variable, or a norm that must remember its width, cannot be
corrected by changing an attribute. Calls named by edits are wrapped in `corrections`, in copies of
the methods and of the helper functions on the way, and the methods become those of a subclass.
Nothing of the user's class or modules is changed; the subclass pickles as its base and its edits.
"""

from __future__ import annotations

import copyreg
import functools
import inspect
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from types import MethodType
from typing import Any

from torch import nn

from lightning_prune.compaction.rewriting.call_site import digest, sources_along
from lightning_prune.compaction.rewriting.source import (
    Source,
    called_by,
    method_of,
    own_method_called,
)
from lightning_prune.compaction.rewriting.wrap import Changer
from lightning_prune.coupling.graph import Position
from lightning_prune.errors import RewriteError
from lightning_prune.runtime.callees import Callees, ReroutedMethod
from lightning_prune.runtime.corrections import Correction, GiveBack, ReadRows


@dataclass(frozen=True)
class Edit:
    """One call in a module's source that is corrected.

    Args:
        method: name of the module's method.
        path: where the method, and each function called on the way, calls the next one; at last
            the call to correct. Lines count from the function's first. Empty if it is the whole
            method that is replaced.
        correction: what stands in for the call.
        digest: of the source of all these functions.
    """

    method: str
    path: tuple[Position, ...]
    correction: Correction
    digest: str

    @property
    def place(self) -> tuple[str, tuple[Position, ...]]:
        """Where it is made."""
        return self.method, self.path

    @property
    def where(self) -> str:
        """Where in the method the call stands, in words."""
        return f"line {self.path[0].line + 1}" if self.path else "as a whole"


_Task = tuple[tuple[Position, ...], Correction]
"""Where a function calls what is to be corrected, and the correction."""


@functools.cache
def rewritten(kind: type, edits: tuple[Edit, ...], callees: Callees = ()) -> type:
    """Return a subclass of ``kind`` in whose methods some calls are corrected.

    Args:
        kind: a module's class, as the user wrote it.
        edits: the corrections, at most one for a call; none gives ``kind`` itself.
        callees: what attributes of the module call.

    Returns:
        The subclass; the same one for the same arguments.

    Raises:
        RewriteError: if the source is not the one for which the edits were made, or cannot be
            changed.
    """
    if not edits:
        return kind
    for edit in edits:
        if digest(sources_along(kind, edit.method, edit.path[:-1], callees)) != edit.digest:
            raise RewriteError(f"the source of {kind.__qualname__}.{edit.method} has changed")
    body: dict[str, Any] = {"_rewritten": (kind, edits, callees), "__reduce_ex__": _reduce}
    body |= {name: getattr(kind, name) for name in ("__module__", "__qualname__", "__doc__")}
    rewriting = _Rewriting(kind, edits, callees)
    for name in dict.fromkeys(edit.method for edit in edits):
        body |= dict.fromkeys(names_of(kind, name), _method(rewriting, name))
    try:
        made: type = type(kind)(kind.__name__, (kind,), body)
    except Exception as error:  # whatever the class makes of its subclasses
        raise RewriteError(f"{kind.__qualname__} has no subclasses: {error}") from error
    return made


def names_of(kind: type, name: str) -> list[str]:
    """Return every name by which a class knows a method."""
    method = inspect.getattr_static(kind, name)
    names = dict.fromkeys(n for base in kind.__mro__ for n in vars(base))
    return [n for n in names if inspect.getattr_static(kind, n) is method]


def edits_of(kind: type) -> tuple[type, tuple[Edit, ...]]:
    """Return the user's own class, and the edits that were made to it."""
    own, edits, _ = vars(kind).get("_rewritten", (kind, (), ()))
    return own, edits


def own_methods_in(module: nn.Module) -> dict[str, str]:
    """Return the attributes of a module that hold a method of its own, with the method's name.

    ``self.forward = self.forward_fused`` is one; in a subclass it has to hold that of the subclass.
    """
    kind: Any = type(module)
    bound = {
        attribute: value
        for attribute, value in vars(module).items()
        if type(value) is MethodType and value.__self__ is module
    }
    return {
        attribute: value.__name__
        for attribute, value in bound.items()
        if getattr(kind, value.__name__, None) is value.__func__
    }


def joined(edits: Sequence[Edit], later: Iterable[Edit]) -> tuple[Edit, ...]:
    """Return the edits that do what some edits, and then others, do.

    Raises:
        RewriteError: if one call needs two corrections that do not go together.
    """
    found = {edit.place: edit for edit in edits}
    for edit in later:
        place = edit.method, edit.path
        correction: Correction | None = edit.correction
        if place in found:
            correction = found[place].correction.then(edit.correction)
        if correction is None:
            raise RewriteError("one call needs two corrections")
        found[place] = replace(edit, correction=correction)
    return tuple(found.values())


@dataclass(frozen=True)
class _Rewriting:
    """What a class becomes.

    Args:
        kind: a module's class, as the user wrote it.
        edits: the corrections.
        callees: what attributes of the module call.
    """

    kind: type
    edits: tuple[Edit, ...]
    callees: Callees

    def tasks(self, method: str) -> list[_Task]:
        """Return the corrections of a method."""
        return [(edit.path, edit.correction) for edit in self.edits if edit.method == method]

    def method(self, name: str, tasks: Sequence[_Task], above: tuple[str, ...] = ()) -> Any:
        """Return what stands for a copy of a method in which calls are corrected.

        Args:
            name: of the method.
            tasks: the corrections.
            above: methods whose copies call this one.

        Returns:
            The copy.

        Raises:
            RewriteError: if a copy would call itself.
        """
        if name in above:
            raise RewriteError(f"{self.kind.__qualname__}.{name} calls itself")
        return self._edited(method_of(self.kind, name), tasks, (*above, name))

    def _edited(self, source: Source, tasks: Sequence[_Task], above: tuple[str, ...] = ()) -> Any:
        """Return a copy of a function; of a method, if methods are named that lead to it."""
        changer = Changer(source)
        for position in dict.fromkeys(path[0] for path, _ in tasks):
            here = [(path[1:], correction) for path, correction in tasks if path[0] == position]
            inner = [(path, correction) for path, correction in here if path]
            if inner:
                self._reroute(changer, position, inner, above)
            for path, correction in here:
                if not path:
                    changer.correct(position, correction)
        return changer.copy()

    def _reroute(
        self, changer: Changer, position: Position, inner: Sequence[_Task], above: tuple[str, ...]
    ) -> None:
        """Let a call call a copy of what it calls, in which calls are corrected."""
        node = changer.source.find(position)
        callees = self.callees if above else ()
        own = own_method_called(changer.source, node, self.kind, callees) if above else None
        if own is not None:
            copy = self.method(own, _then(self.tasks(own), inner), above)
            changer.reroute_method(position, ReroutedMethod(own, copy))
            return
        called = called_by(changer.source, node, self.kind, callees)
        changer.reroute(position, self._edited(called, inner), callees)


def _then(tasks: Sequence[_Task], later: Sequence[_Task]) -> list[_Task]:
    """Return the corrections of all calls of a method, and after them those of one of its calls.

    Raises:
        RewriteError: if they do not go together.
    """
    found: dict[tuple[Position, ...], Correction] = dict(tasks)
    for path, correction in later:
        both = found[path].then(correction) if path in found else correction
        if both is None:
            raise RewriteError("one call needs two corrections")
        found[path] = both
    if () in found:
        raise RewriteError("a method that is replaced as a whole has no calls to correct")
    return list(found.items())


def _method(rewriting: _Rewriting, name: str) -> Any:
    """Return a method with its corrections: of calls in it, around it, or in its place."""
    tasks = rewriting.tasks(name)
    whole = next((correction for path, correction in tasks if not path), None)
    if whole is not None and (name != "forward" or not isinstance(whole, (GiveBack, ReadRows))):
        raise RewriteError(f"{type(whole).__name__} does not stand in for {name}")
    if isinstance(whole, GiveBack):
        return _in_place(whole)
    calls = [(path, correction) for path, correction in tasks if path]
    inner = rewriting.method(name, calls) if calls else getattr(rewriting.kind, name)
    return inner if whole is None else whole.around(inner)


def _in_place(correction: GiveBack) -> Any:
    def method(self: nn.Module, *args: Any, **kwargs: Any) -> Any:
        return correction(*args, **kwargs)

    return method


def _reduce(self: nn.Module, protocol: Any) -> Any:
    """Pickle as the user's class and the edits, for the class itself has no importable name."""
    kind: Any
    kind, edits, callees = vars(type(self)).get("_rewritten", (type(self), (), ()))
    reduced = kind.__reduce_ex__(self, max(protocol, 2))
    if reduced[0] is copyreg.__newobj__ and reduced[1] == (type(self),):  # type: ignore[attr-defined]
        return (_new, (kind, edits, callees), *reduced[2:])
    return reduced


def _new(kind: type, edits: tuple[Edit, ...], callees: Callees) -> Any:
    return object.__new__(rewritten(kind, edits, callees))
