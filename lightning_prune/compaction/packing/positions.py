"""Positions: where the elements of a tensor stand that are not zero.

A bit for each element is short where many stand; the gaps between neighbours are where few do; the
places of ``n`` in each ``m`` are where these are as many everywhere.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from lightning_prune.compaction.packing.frames import Bytes, expanded, require_packed

Positions = NDArray[np.int64]
Used = NDArray[np.bool_]

_LONG = 255  # a byte of this value is as many zeros, and the gap goes on in the next byte


class NOfM(NamedTuple):
    """Of ``m`` elements in a row, ``n`` are not zero; ``m`` is a power of two."""

    n: int
    m: int

    @property
    def bits(self) -> int:
        """Bits of a place in the window."""
        return self.m.bit_length() - 1


_WINDOWS: Mapping[str, NOfM] = {
    f"{n}:{m}": NOfM(n, m) for n, m in ((1, 2), (1, 4), (2, 4), (1, 8), (2, 8), (1, 16), (2, 16))
}
FORMS = ("bitmap", "gaps", *_WINDOWS)


class Told(NamedTuple):
    """Positions in one of the forms."""

    form: str
    data: Bytes


def told(used: Used) -> Iterator[Told]:
    """Yield positions in each form that there is for them.

    Args:
        used: which elements are not zero, shape ``[elements]``.
    """
    yield Told("bitmap", np.packbits(used))
    yield Told("gaps", _gaps(used))
    for form, (n, m) in _WINDOWS.items():
        if used.size % m == 0 and bool((used.reshape(-1, m).sum(1) == n).all()):
            yield Told(form, _places(used, _WINDOWS[form]))


def positions(form: str, frame: memoryview, size: int) -> Positions:
    """Return the positions that a frame tells.

    Args:
        form: one of `FORMS`.
        frame: it may come from anywhere.
        size: elements of the tensor.

    Returns:
        Positions in ``[0, size)``, ascending.

    Raises:
        ImportError: if zstandard is missing.
        ValueError: if it tells no such positions.
    """
    if form == "bitmap":
        length = -(-size // 8)
        found = np.flatnonzero(np.unpackbits(expanded(frame, length, length)))
    elif form == "gaps":
        found = _behind_gaps(expanded(frame, 0, size + size // _LONG))
    else:
        found = _at_places(frame, _WINDOWS[form], size)
    ascend = not len(found) or (found[-1] < size and bool((np.diff(found) > 0).all()))
    require_packed(ascend, "told of by ascending positions inside of it")
    return found


def _gaps(used: Used) -> Bytes:
    gaps = np.diff(np.flatnonzero(used), prepend=-1) - 1
    ends = np.cumsum(gaps // _LONG + 1) - 1
    found = np.full(int(ends[-1]) + 1 if len(ends) else 0, _LONG, np.uint8)
    found[ends] = gaps % _LONG
    return found


def _behind_gaps(data: Bytes) -> Positions:
    is_end = data != _LONG
    require_packed(not len(data) or bool(is_end[-1]), "told of by gaps that end")
    found: Positions = np.cumsum(data + is_end.astype(np.int64))[is_end] - 1
    return found


def _places(used: Used, window: NOfM) -> Bytes:
    places = (np.flatnonzero(used) % window.m).astype(np.uint8)
    return np.packbits(np.unpackbits(places[:, None], axis=1)[:, -window.bits :])


def _at_places(frame: memoryview, window: NOfM, size: int) -> Positions:
    count = size // window.m * window.n
    length = -(-count * window.bits // 8)
    bits = np.unpackbits(expanded(frame, length, length))[: count * window.bits]
    places = np.packbits(bits.reshape(count, window.bits), axis=1)[:, 0] >> (8 - window.bits)
    found: Positions = np.arange(count) // window.n * window.m + places
    return found
