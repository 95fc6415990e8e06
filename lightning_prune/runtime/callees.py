"""Callees: what a module calls that is no module, such as a processor in one of its attributes."""

from __future__ import annotations

from dataclasses import dataclass
from types import FunctionType, MethodType
from typing import Any

from torch import nn

Callees = tuple[tuple[str, FunctionType], ...]


def callees_of(module: nn.Module) -> Callees:
    """Return the functions that run when attributes of a module are called, by their names.

    Attributes are functions, methods of objects, or objects that can be called; modules are not
    among them.
    """
    found = ((name, function_of(value)) for name, value in vars(module).items())
    return tuple((name, function) for name, function in found if function is not None)


def function_of(callee: Any) -> FunctionType | None:
    """Return the function that runs when something is called, None if it is made of no source."""
    if isinstance(callee, (nn.Module, type)):
        return None
    function = callee
    if isinstance(callee, MethodType):
        function = callee.__func__
    elif not isinstance(callee, FunctionType):
        function = getattr(type(callee), "__call__", None)  # noqa: B004
    return function if isinstance(function, FunctionType) else None


@dataclass(frozen=True)
class Rerouted:
    """Stands in for what an attribute holds: runs a corrected copy of its function.

    Args:
        original: the function that was corrected.
        corrected: the copy.
    """

    original: FunctionType
    corrected: Any

    def __call__(self, callee: Any, *args: Any, **kwargs: Any) -> Any:
        """Call the copy as the callee would have called its function.

        Returns:
            What the copy returns.

        Raises:
            RuntimeError: if the attribute holds something else by now.
        """
        if function_of(callee) is not self.original:
            raise RuntimeError(
                f"Expected a call of {self.original.__qualname__}, whose sizes were corrected when "
                f"the model was made smaller, but got {callee!r}. Set it before the compaction."
            )
        if isinstance(callee, FunctionType):
            return self.corrected(*args, **kwargs)
        owner = callee.__self__ if isinstance(callee, MethodType) else callee
        return self.corrected(owner, *args, **kwargs)


@dataclass(frozen=True)
class ReroutedMethod:
    """Stands in for a method at one of its calls: runs a corrected copy of it.

    Args:
        name: of the method.
        corrected: the copy.
    """

    name: str
    corrected: Any

    def __call__(self, method: Any, *args: Any, **kwargs: Any) -> Any:
        """Call the copy as the method would have been called.

        Returns:
            What the copy returns.

        Raises:
            RuntimeError: if the module holds something else by that name by now.
        """
        is_own = isinstance(method, MethodType) and method.__func__ is getattr(
            type(method.__self__), self.name, None
        )
        if not is_own:
            raise RuntimeError(
                f"Expected a call of the method {self.name}, whose sizes were corrected when the "
                f"model was made smaller, but got {method!r}. Set it before the compaction."
            )
        return self.corrected(method.__self__, *args, **kwargs)
