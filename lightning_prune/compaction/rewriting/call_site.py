"""Call sites: where in a module's source an operation is called, and how it may be corrected.

A correction knows the arguments of one operation. It may stand in for a call in the user's source
only if that call is a call of that operation, and not of something that uses it among others.
"""

from __future__ import annotations

import ast
import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from types import CodeType

from lightning_prune.compaction.rewriting.callees import called_name
from lightning_prune.compaction.rewriting.source import (
    Source,
    called_by,
    method_of,
    moved,
    own_method_called,
    position_of,
    value_of,
)
from lightning_prune.coupling.graph import Frame, Node, Position
from lightning_prune.coupling.sites import is_torch, is_torch_layer, is_transformation
from lightning_prune.errors import RewriteError
from lightning_prune.runtime.callees import Callees
from lightning_prune.runtime.corrections import Correction, OperandCorrection, Pin, PinArguments

_ALSO_CALLED = {
    "lift_fresh": {"tensor", "as_tensor", "new_tensor"},
    "split_with_sizes": {"split"},
    "div": {"divide", "true_divide"},
    "mul": {"multiply"},
    "sub": {"subtract"},
    "constant_pad_nd": {"pad"},
    "empty": {"new"},
}
"""Names in Python of operations that torch calls otherwise."""

_PAIRS = 4096
"""Of how many pairs of functions to remember whether one stands in the source of the other."""


@dataclass(frozen=True)
class CallSite:
    """Where in the source of a class an operation is called.

    Args:
        method: name of the method.
        path: where the method, and each function called on the way, calls the next one; at last
            the call itself. Lines count from the function's first.
        digest: of the source of all these functions.
        source: the function in which the call stands.
        expression: the call.
        operation: name of the operation.
    """

    method: str
    path: tuple[Position, ...]
    digest: str
    source: Source
    expression: ast.AST
    operation: str

    @classmethod
    def of(cls, kind: type, node: Node, callees: Callees = ()) -> CallSite:
        """Return the site at which an operation is called.

        Args:
            kind: the class of the module there, as the user wrote it.
            node: the operation.
            callees: what attributes of the module call.

        Returns:
            The place.

        Raises:
            RewriteError: if the source cannot be read, or the call not be found in it.
        """
        if node.site is None:
            raise RewriteError("it is called by code without source")
        path: list[Position] = []
        for call in users_calls(node.site.calls):
            sources = sources_along(kind, node.site.method, path, callees)
            if not sources[-1].is_what_ran(call.code):
                raise RewriteError(f"{call.code.co_qualname} is not what its caller names")
            expression = sources[-1].find(moved(call.position, -sources[-1].first_line))
            path.append(moved(position_of(expression), -sources[-1].first_line))
        operation = node.name.rpartition("::")[2]
        return cls(
            node.site.method, tuple(path), digest(sources), sources[-1], expression, operation
        )

    def fitting(self, correction: Correction) -> Correction:
        """Return the form of a correction that fits the call.

        Raises:
            RewriteError: if it is not this operation that is called here.
        """
        if not isinstance(self.expression, ast.Call):
            if not isinstance(correction, PinArguments):
                return correction
            return Pin(*correction.pins[0][:2])
        name = called_name(self.source, self.expression).rstrip("_")
        if name not in {self.operation, *_ALSO_CALLED.get(self.operation, ())}:
            raise RewriteError(f"it is a part of what {ast.unparse(self.expression.func)} does")
        if isinstance(correction, PinArguments):
            pins = [pin._replace(place=pin.place - self._is_bound) for pin in correction.pins]
            return PinArguments(tuple(pins))
        if isinstance(correction, OperandCorrection):
            return replace(correction, bound=self._is_bound)
        return correction

    def attribute(self, place: int) -> str | None:
        """Return the attribute of the module that the call passes as its size number ``place``."""
        call, code = self.expression, self.source.function.__code__
        if len(self.path) > 1 or not isinstance(call, ast.Call):
            return None
        node = size_at(call, place)
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            return node.attr if node.value.id == code.co_varnames[0] else None
        return None

    @property
    def _is_bound(self) -> bool:
        """Whether a tensor's method is called, so that the tensor is not among the arguments."""
        function = self.expression.func  # type: ignore[attr-defined]
        owner = value_of(self.source.function, getattr(function, "value", None))
        return isinstance(function, ast.Attribute) and not hasattr(owner, "__name__")


def size_at(call: ast.Call, place: int) -> ast.expr | None:
    """Return what a call passes as its size number ``place``; None where that cannot be told."""
    sizes: Sequence[ast.expr] = call.args
    listed = [arg for arg in sizes if isinstance(arg, (ast.Tuple, ast.List))]
    sizes = listed[0].elts if listed else sizes
    if place >= len(sizes) or any(isinstance(size, ast.Starred) for size in sizes):
        return None
    return sizes[place]


def sources_along(
    kind: type, method: str, path: Sequence[Position], callees: Callees = ()
) -> list[Source]:
    """Return a method and the functions called at the positions of a path.

    Raises:
        RewriteError: if one of them has no source.
    """
    sources = [method_of(kind, method)]
    is_method = True  # only a method knows its module's attributes as those of its first argument
    for position in path:
        expression = sources[-1].find(position)
        own = own_method_called(sources[-1], expression, kind, callees) if is_method else None
        if own is not None:
            sources.append(method_of(kind, own))
        else:
            sources.append(called_by(sources[-1], expression, kind, callees if is_method else ()))
            is_method = False
    return sources


def digest(sources: Iterable[Source]) -> str:
    """Return a digest of the source of functions."""
    text = "\0".join(source.text for source in sources)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def users_calls(calls: Sequence[Frame]) -> list[Frame]:
    """Return the calls down to the innermost one in the user's code, or in a layer of torch.

    Raises:
        RewriteError: if a transformation changes the sizes of what is called.
    """
    calls = list(calls)
    while len(calls) > 1 and is_torch(calls[-1].code) and not is_torch_layer(calls[-1].code):
        calls.pop()
    if any(is_transformation(call.code) for call in calls):
        raise RewriteError("it is called under a transformation of torch.func")
    return merged_calls(calls)


def merged_calls(calls: Iterable[Frame]) -> list[Frame]:
    """Return calls without those of functions that stand in the source of another among them.

    Args:
        calls: a function first, then those that it called.

    Returns:
        In place of such a function, the one around it, where the inner one makes its call.
    """
    merged: list[Frame] = []
    for call in calls:
        for index, earlier in enumerate(merged):
            if _contains(earlier.code, call.code):
                # A lambda or a comprehension stands in the source of the function around it.
                merged[index:] = [replace(earlier, position=call.position)]
                break
        else:
            merged.append(call)
    return merged


@lru_cache(maxsize=_PAIRS)
def _contains(code: CodeType, other: CodeType) -> bool:
    inside = [constant for constant in code.co_consts if isinstance(constant, CodeType)]
    return other in inside or any(_contains(one, other) for one in inside)
