"""The allocator: what runs free stays with the process while they are timed, or is given back.

The C library of Linux gives large freed memory back to the system, and each run takes it again,
page by page. How often depends on what else the process has allocated before, and may take as long
as the work of a small network. A process that does nothing but run one model keeps its memory.
"""

from __future__ import annotations

import ctypes
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # of `mallopt`
_NEVER = 2**31 - 1
_USUAL_MMAP = 32 * 2**20
"""Where the library's own threshold ends, once a process has freed tensors of that size."""


@contextmanager
def memory_kept() -> Iterator[None]:
    """Keep the memory that is freed inside.

    Only glibc is told so, and not where the environment tells it otherwise. Afterwards its
    thresholds are those that it would reach by itself in a process with large tensors.

    Yields:
        Nothing.
    """
    library = _glibc()
    if library is None:
        yield
        return
    library.mallopt(_TRIM_THRESHOLD, _NEVER)
    library.mallopt(_MMAP_THRESHOLD, _NEVER)
    try:
        yield
    finally:
        library.mallopt(_MMAP_THRESHOLD, _USUAL_MMAP)
        library.mallopt(_TRIM_THRESHOLD, 2 * _USUAL_MMAP)


def return_memory() -> None:
    """Give freed memory back to the system, where the C library is glibc.

    It keeps what threads have freed, for each of them.
    """
    library = ctypes.CDLL(None) if sys.platform == "linux" else None
    if library is not None and hasattr(library, "malloc_trim"):
        library.malloc_trim(0)


def _glibc() -> ctypes.CDLL | None:
    """Return the C library if it is glibc, and the environment leaves its thresholds open."""
    asked = any(name.startswith("MALLOC_") for name in os.environ)
    if sys.platform != "linux" or asked or "malloc" in os.environ.get("GLIBC_TUNABLES", ""):
        return None
    library = ctypes.CDLL(None)
    return library if hasattr(library, "gnu_get_libc_version") else None
