"""Isolation: what runs on a copy of a LightningModule changes nothing and is heard by nobody.

Parameters, random numbers, the Trainer, its loggers, metrics and optimizers, and other ranks are as
if it had not run; what it logs is caught.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.utils._python_dispatch import _disable_current_modes

from lightning_prune.modules.tensor_copies import TensorCopies


@contextmanager
def isolated(copied: nn.Module) -> Iterator[list[Any]]:
    """Let methods of a copy of a module run without a trace, but for the copy's own buffers.

    Args:
        copied: the copy; it may share its parameters with the original.

    Yields:
        A list, which will hold what is logged.
    """
    with random_numbers_kept(), _parameters_kept(copied), _unheard(copied) as logged:
        yield logged


@contextmanager
def random_numbers_kept() -> Iterator[None]:
    """Leave the generators of Python and numpy as they are; others see to those of torch."""
    of_python, of_numpy = random.getstate(), np.random.get_state()
    try:
        yield
    finally:
        random.setstate(of_python)
        np.random.set_state(of_numpy)


@contextmanager
def _parameters_kept(copied: nn.Module) -> Iterator[None]:
    """Let parameters lie in memory of their own meanwhile: that of a twin is the original's."""
    copies = TensorCopies(lambda tensor: False)
    with _disable_current_modes(), torch.inference_mode(False), torch.no_grad():  # not recorded
        held = [(parameter, parameter.data) for parameter in copied.parameters()]
        for parameter, data in held:
            parameter.data = copies(data)
    try:
        yield
    finally:
        with _disable_current_modes():
            for parameter, data in held:
                parameter.data = data


@contextmanager
def _unheard(copied: nn.Module) -> Iterator[list[Any]]:
    """Keep from the Trainer and from other ranks what a step has to say; yield what it logs."""
    logged: list[Any] = []
    before = []
    for module in copied.modules():
        held, changes = vars(module), _unheard_attributes(module, logged)
        before.append((held, changes, {name: held[name] for name in changes if name in held}))
        held.update(changes)
    try:
        yield logged
    finally:
        for held, changes, kept in before:
            for name in changes:
                held.pop(name, None)
            held.update(kept)


def _unheard_attributes(module: nn.Module, logged: list[Any]) -> dict[str, Any]:
    """Return what a module that may speak to others has to hold in order not to."""
    if "distributed_available_fn" in vars(module):  # a metric, which would ask the other ranks
        return {"distributed_available_fn": lambda: False}
    if "_trainer" not in vars(module):
        return {}
    trainer = vars(module)["_trainer"]

    def log(name: str, value: Any, *args: Any, **kwargs: Any) -> None:
        logged.append(value)

    def log_dict(values: Any, *args: Any, **kwargs: Any) -> None:
        logged.append(values)

    def optimizers(*args: Any, **kwargs: Any) -> Any:
        shown = [_Settings(optimizer) for optimizer in trainer.optimizers]
        return shown[0] if len(shown) == 1 else shown

    return {
        "log": log,
        "log_dict": log_dict,
        "print": _Nowhere(),
        "optimizers": optimizers,
        **dict.fromkeys(("lr_schedulers", "manual_backward", "toggle_optimizer"), _refuse),
        "_trainer": None if trainer is None else _Unheard(trainer),
    }


def _refuse(*args: Any, **kwargs: Any) -> None:
    """Do not optimize.

    Raises:
        RuntimeError: always.
    """
    raise RuntimeError("a copy of the module is not optimized")


class _Settings:
    """An optimizer that only tells its settings, such as the learning rate."""

    def __init__(self, optimizer: Any) -> None:
        self.param_groups = [
            {name: value for name, value in group.items() if name != "params"}
            for group in optimizer.param_groups
        ]


class _Unheard:
    """A Trainer that answers and remembers nothing; its loggers lead nowhere."""

    def __init__(self, trainer: Any) -> None:
        vars(self)["_trainer"] = trainer

    def __getattr__(self, name: str) -> Any:
        value = getattr(vars(self)["_trainer"], name)
        if name == "logger":
            return None if value is None else _Nowhere()
        if name == "loggers":
            return [_Nowhere() for _ in value]
        return dict(value) if name.endswith("_metrics") else value


class _Nowhere:
    """An object whose attributes and results are itself."""

    def __getattr__(self, name: str) -> _Nowhere:
        return self

    def __call__(self, *args: Any, **kwargs: Any) -> _Nowhere:
        return self
