"""Fast paths of torch, and operations as whole as they are called."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import torch

from lightning_prune.modules.switch import Switch


@contextlib.contextmanager
def _parts_of_attention() -> Iterator[None]:
    before = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        yield
    finally:
        torch.backends.mha.set_fastpath_enabled(before)


no_fast_paths = Switch(_parts_of_attention)
"""Lets attention be computed by the operations that it is made of."""


@contextlib.contextmanager
def composite_operations() -> Iterator[None]:
    """Let a dispatch mode see operations as whole as they are called.

    It is autograd that takes composite operations apart. `torch.inference_mode` leaves it out too,
    but what user code keeps outside of the module meanwhile, such as a table of positions, would
    not be fit for training then.
    """
    with no_fast_paths(), torch.no_grad(), torch._C._AutoDispatchBelowAutograd():
        yield
