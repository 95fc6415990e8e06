"""The garbage collector, kept from looking at everything again and again.

A program that has imported torch and Lightning holds a million objects, and a full collection looks
at all of them, which takes longer than to couple a small network.
"""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager

from lightning_prune.modules.switch import Switch

_NEVER = 1_000_000_000


@contextmanager
def _only_young() -> Iterator[None]:
    first, second, third = gc.get_threshold()
    gc.set_threshold(first, second, _NEVER)
    try:
        yield
    finally:
        gc.set_threshold(first, second, third)


no_full_collections = Switch(_only_young)
"""Lets the garbage collector look only at what is young; full collections wait until the end."""
