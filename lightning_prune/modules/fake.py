"""Fake tensors: shapes without numbers, for models too big to run.

A model built under ``FakeTensorMode`` runs in that mode; what coupling computes for itself, on ids,
must not.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable
from contextlib import AbstractContextManager
from typing import Any

from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode, unset_fake_temporarily


def fake_mode(tensors: Iterable[Tensor]) -> FakeTensorMode | None:
    """Return the mode that the first fake one of some tensors belongs to, if there is one."""
    return next((t.fake_mode for t in tensors if isinstance(t, FakeTensor)), None)


def faking(mode: FakeTensorMode | None) -> AbstractContextManager[Any]:
    """Return a context in which operations are fake if there is a mode."""
    return contextlib.nullcontext() if mode is None else mode


def real() -> AbstractContextManager[Any]:
    """Return a context in which operations compute numbers, even within a fake mode."""
    context: AbstractContextManager[Any] = unset_fake_temporarily()
    return context
