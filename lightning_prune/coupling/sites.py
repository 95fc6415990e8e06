"""Sites: where in the user's source an operation is being called.

The interpreter's frames tell which method of which module is running, which functions it has
called, and the very expression being evaluated in each. Nothing here reads or changes source.
"""

from __future__ import annotations

import inspect
import os
import sys
from functools import lru_cache
from itertools import islice
from types import CodeType, FrameType
from typing import Any

import torch
from torch import nn

from lightning_prune.coupling.graph import Frame, Position, Site
from lightning_prune.runtime import callees, corrections, norms

_TORCH = os.path.dirname(torch.__file__) + os.sep
_PACKAGE = os.path.dirname(os.path.dirname(__file__)) + os.sep
_TRANSPARENT = (
    os.path.dirname(__file__) + os.sep,
    os.path.dirname(corrections.__file__) + os.sep,
    norms.__file__,
    callees.__file__,
    os.path.join(_TORCH, "_ops.py"),
)
"""Code that stands between a call in the user's source and the operation, and is no part of it."""

_COPY = "<copy of "

_LEVELS = 4
"""How many callers of a method a site knows."""

_CODES = 4096
"""How many functions, or places in them, to remember something about."""


class Sites:
    """Finds the sites of operations of one model.

    Args:
        model: the model that runs.
    """

    def __init__(self, model: nn.Module) -> None:
        self._paths = {id(module): name for name, module in model.named_modules()}
        kinds: set[type] = {type(module) for module in model.modules()}
        self._methods = {kind: methods_of(kind) for kind in kinds}
        self._codes = {code for methods in self._methods.values() for code in methods}

    def here(self) -> Site | None:
        """Return where the running operation was called; None outside of the model's methods."""
        frames: list[FrameType] = []
        frame: FrameType | None = sys._getframe(1)
        while frame is not None:
            if not _is_transparent(frame.f_code.co_filename):
                frames.append(frame)
                if frame.f_code in self._codes:
                    owner = _first_argument(frame)
                    if self._method(frame, owner) is not None and id(owner) in self._paths:
                        return self._site(frames, owner)
            frame = frame.f_back
        return None

    def _method(self, frame: FrameType, owner: Any) -> str | None:
        return self._methods.get(type(owner), {}).get(frame.f_code)

    def _site(self, frames: list[FrameType], owner: Any, levels: int = _LEVELS) -> Site:
        """Return the site whose method runs in the last frame, with those of its callers."""
        outer = frames[-1].f_back
        is_own = outer is not None and self._method(outer, owner) is not None
        caller = None
        if levels and outer is not None and is_own and _first_argument(outer) is owner:
            caller = self._site([outer], owner, levels - 1)
        calls = tuple(_called(one, owner) for one in reversed(frames))
        method = self._method(frames[-1], owner) or ""
        return Site(self._paths[id(owner)], method, calls, caller)

    @staticmethod
    def line() -> str:
        """Return file and line of the innermost code that is neither torch's nor this package's."""
        frame: FrameType | None = sys._getframe(1)
        while frame is not None:
            path = _users_file(frame.f_code.co_filename)
            if path:
                return f"{os.path.basename(path)}:{frame.f_lineno}"
            frame = frame.f_back
        return ""


def methods_of(kind: type) -> dict[CodeType, str]:
    """Return the code of every method and property that instances of ``kind`` run, by name.

    What a class overrides is not among them, and neither is what `torch.nn.Module` does for all.
    """
    members: dict[str, Any] = {}
    for base in kind.__mro__:
        if base not in (nn.Module, object):
            members = {**vars(base), **members}
    found: dict[CodeType, str] = {}
    for name, function in members.items():
        code = getattr(unwrapped(function), "__code__", None)
        is_method = not isinstance(function, (staticmethod, classmethod))
        if is_method and isinstance(code, CodeType) and code.co_argcount:
            found.setdefault(code, name)
    common = {getattr(function, "__code__", None) for function in vars(nn.Module).values()}
    return {code: name for code, name in found.items() if code not in common}


def unwrapped(function: Any) -> Any:
    """Return the function below all decorators that say what they wrap, also of a property."""
    while True:
        inner = function
        if isinstance(function, property):
            inner = function.fget
        elif isinstance(function, (staticmethod, classmethod)):
            inner = function.__func__
        elif not isinstance(function, type):
            inner = inspect.getattr_static(function, "__wrapped__", function)
        if inner is function:
            return inner
        function = inner


def is_torch(code: CodeType) -> bool:
    """Tell whether a function belongs to torch itself."""
    return file_of(code).startswith(_TORCH)


def is_torch_layer(code: CodeType) -> bool:
    """Tell whether a function belongs to one of torch's own layers."""
    layers = os.path.join(_TORCH, "nn", "modules", "")
    path = file_of(code)
    return path.startswith(layers) and not path.endswith(os.sep + "module.py")


def is_transformation(code: CodeType) -> bool:
    """Tell whether a function belongs to the transformations of ``torch.func``, such as vmap."""
    return file_of(code).startswith(os.path.join(_TORCH, "_functorch", ""))


def file_of(code: CodeType) -> str:
    """Return the file in which the source of a function stands, also of a copy of a function."""
    return _original(code.co_filename)


def _original(path: str) -> str:
    return path[len(_COPY) :].rpartition(" ")[0] if path.startswith(_COPY) else path


def file_of_copy(code: CodeType, digest: str) -> str:
    """Return what to write into a changed copy of ``code`` as its file.

    The positions are those of the original, the source is another: nothing must take that of the
    original for it.

    Args:
        code: the original, or a copy of it.
        digest: of the source of the copy, without spaces.
    """
    return f"{_COPY}{file_of(code)} {digest}>"


@lru_cache(maxsize=_CODES)
def _is_transparent(path: str) -> bool:
    return path.startswith(_TRANSPARENT)


@lru_cache(maxsize=_CODES)
def _users_file(path: str) -> str:
    """Return the file of a function, nothing if it is torch's, this package's or has none."""
    path = _original(path)
    return "" if path.startswith((_TORCH, _PACKAGE, "<")) else path


def _first_argument(frame: FrameType) -> Any:
    code = frame.f_code
    return frame.f_locals.get(code.co_varnames[0]) if code.co_argcount else None


def _called(frame: FrameType, owner: Any) -> Frame:
    is_given_module = not is_torch(frame.f_code) and _first_argument(frame) is owner
    code = frame.f_code
    return _frame(code, code.co_filename, frame.f_lasti, is_given_module)


@lru_cache(maxsize=_CODES)
def _frame(code: CodeType, path: str, instruction: int, is_given_module: bool) -> Frame:
    # Codes are equal whatever their file is, so that tells them apart in the cache.
    positions = next(islice(code.co_positions(), instruction // 2, None))
    line, end_line, column, end_column = (p if p is not None else -1 for p in positions)
    return Frame(code, Position(line, end_line, column, end_column), is_given_module)
