"""The step that is distilled: a LightningModule's training step, for the duration of a fit.

It is an attribute of the module, in front of the method of its class, as strategies look the step
up by its name. A copy of the module, or one that is pickled, has the plain step.
"""

from __future__ import annotations

import copy
import functools
import inspect
from collections.abc import Callable
from typing import Any

import lightning as L
from typing_extensions import override

_NAME = "training_step"


class DistilledStep:
    """A training step that somebody else runs.

    Args:
        pl_module: the module.
        run: called with the plain step and its arguments, positional and by keyword; returns what
            the training step is to return.
    """

    def __init__(
        self,
        pl_module: L.LightningModule,
        run: Callable[[Callable[..., Any], tuple[Any, ...], dict[str, Any]], Any],
    ) -> None:
        self._module = pl_module
        self._own = vars(pl_module).get(_NAME)  # that of a compiled module
        self._plain = pl_module.training_step
        self._run = run
        functools.update_wrapper(self, self._plain)
        # Lightning looks one decorator deep for the arguments to pass.
        self.__wrapped__ = getattr(self._plain, "__wrapped__", self._plain)
        self.__signature__ = inspect.signature(self._plain)
        self._active = True
        vars(pl_module)[_NAME] = self

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Run the step."""
        if self._active:
            return self._run(self._plain, args, kwargs)
        return self._plain(*args, **kwargs)

    def stop(self) -> None:
        """Give the module its plain step back; where somebody has wrapped this one, be like it."""
        self._active = False
        if vars(self._module).get(_NAME) is self:
            del vars(self._module)[_NAME]
            if self._own is not None:
                vars(self._module)[_NAME] = self._own

    def __deepcopy__(self, memo: dict[int, Any]) -> Any:
        """Return the plain step, of the copied module."""
        return copy.deepcopy(self._plain, memo)

    @override
    def __reduce__(self) -> Any:
        """Pickle the plain step."""
        return self._plain.__reduce__()
