"""Sites: where in the user's source an operation is being called.

The interpreter's frames tell which method of which module is running, which functions it has
called, and the very expression being evaluated in each. Nothing here reads or changes source.
"""

from __future__ import annotations

import inspect
import os
import sys
from itertools import islice
from types import CodeType, FrameType

import torch
from torch import nn

from lightning_prune.coupling.graph import Call, Position, Site

_TORCH = os.path.dirname(torch.__file__) + os.sep
_PACKAGE = os.path.dirname(os.path.dirname(__file__)) + os.sep
_RECORDER = (os.path.dirname(__file__) + os.sep, os.path.join(_TORCH, "_ops.py"))


class Sites:
    """Finds the sites of operations of one model.

    Args:
        model: the model that runs.
    """

    def __init__(self, model: nn.Module) -> None:
        self._paths = {id(module): name for name, module in model.named_modules()}

    def here(self) -> Site | None:
        """Return where the running operation was called; None outside of the model's methods."""
        calls: list[Call] = []
        frame: FrameType | None = sys._getframe(1)
        while frame is not None:
            if not frame.f_code.co_filename.startswith(_RECORDER):
                calls.append(Call(frame.f_code, _position(frame)))
                module = _running_module(frame)
                if module is not None and id(module) in self._paths:
                    return Site(self._paths[id(module)], tuple(reversed(calls)))
            frame = frame.f_back
        return None

    @staticmethod
    def line() -> str:
        """Return file and line of the innermost code that is neither torch's nor this package's."""
        frame: FrameType | None = sys._getframe(1)
        while frame is not None:
            path = frame.f_code.co_filename
            if not path.startswith((_TORCH, _PACKAGE, "<")):
                return f"{os.path.basename(path)}:{frame.f_lineno}"
            frame = frame.f_back
        return ""


def is_torch(code: CodeType) -> bool:
    """Tell whether a function belongs to torch itself."""
    return code.co_filename.startswith(_TORCH)


def _position(frame: FrameType) -> Position:
    positions = next(islice(frame.f_code.co_positions(), frame.f_lasti // 2, None))
    line, end_line, column, end_column = (p if p is not None else -1 for p in positions)
    return Position(line, end_line, column, end_column)


def _running_module(frame: FrameType) -> nn.Module | None:
    """Return the module whose method runs in ``frame``, None if it is not a method of one."""
    code = frame.f_code
    if not code.co_argcount:
        return None
    owner = frame.f_locals.get(code.co_varnames[0])
    if not isinstance(owner, nn.Module):
        return None
    for kind in type(owner).__mro__:
        function = vars(kind).get(code.co_name)
        if callable(function) and getattr(inspect.unwrap(function), "__code__", None) is code:
            return owner
    return None
