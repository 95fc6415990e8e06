"""Frames: bytes squeezed by zstandard, and back, never to more than was expected."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Bytes = NDArray[np.uint8]


def squeezed(data: Bytes) -> bytes:
    """Return a frame that holds some bytes.

    Raises:
        ImportError: if zstandard is missing.
    """
    # Only how often each byte comes matters. Higher levels look for repetitions; there are none.
    found: bytes = zstandard().ZstdCompressor(level=1).compress(data.tobytes())
    return found


def expanded(frame: memoryview, least: int, most: int) -> Bytes:
    """Return the bytes that a frame holds.

    Args:
        frame: it may come from anywhere.
        least: how many bytes it must hold at least.
        most: at most; no more memory is taken.

    Raises:
        ImportError: if zstandard is missing.
        ValueError: if it is no complete frame, or holds another number of bytes.
    """
    library = zstandard()
    try:
        size = library.frame_content_size(frame)  # -1 if the frame does not tell
        require_packed(max(0, least) <= size <= most, "in frames of the sizes that its shape needs")
        options = {"max_output_size": size, "allow_extra_data": False}
        data = library.ZstdDecompressor().decompress(frame, **options)
    except library.ZstdError as error:
        raise ValueError(f"{_misfit('in frames of zstandard')} ({error})") from error
    require_packed(len(data) == size, "in complete frames")
    return np.frombuffer(data, np.uint8)


def zstandard() -> Any:
    """Return the library.

    Raises:
        ImportError: if it is missing.
    """
    try:
        import zstandard as library
    except ImportError as error:
        raise ImportError(
            "Expected zstandard to be installed for compressed files, but got none. Run "
            "`pip install 'lightning-prune[compress]'`."
        ) from error
    return library


def require_packed(holds: bool, what: str) -> None:
    """Raise unless a packed tensor is what it must be.

    Args:
        holds: whether it is.
        what: what it must be.

    Raises:
        ValueError: if it does not hold.
    """
    if not holds:
        raise ValueError(_misfit(what))


def _misfit(what: str) -> str:
    return (
        f"Expected every tensor of the compressed file to be {what}, but got something else. Write "
        "the file with `save_compact`."
    )
