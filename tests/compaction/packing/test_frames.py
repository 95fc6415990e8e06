"""A frame gives the bytes that it was made of, and never more than was expected."""

from __future__ import annotations

import sys

import numpy as np
import pytest

from lightning_prune.compaction.packing.frames import expanded, squeezed

zstandard = pytest.importorskip("zstandard")
DATA = np.arange(256, dtype=np.uint8).repeat(9)
FRAME = squeezed(DATA)
ENDLESS = zstandard.ZstdCompressor(
    compression_params=zstandard.ZstdCompressionParameters(write_content_size=False)
).compress(DATA.tobytes())


@pytest.mark.parametrize("data", [DATA, DATA[:0], DATA[:1], DATA[::3]])
def test_bytes_come_back(data):
    assert np.array_equal(expanded(memoryview(squeezed(data)), len(data), len(data)), data)


@pytest.mark.parametrize(
    ("frame", "least", "most"),
    [
        (FRAME, 0, len(DATA) - 1),
        (FRAME, len(DATA) + 1, 10**9),
        (FRAME[:-3], len(DATA), len(DATA)),
        (FRAME + b"more", len(DATA), len(DATA)),
        (FRAME + FRAME, len(DATA), len(DATA)),
        (b"", 0, 10),
        (b"no frame", 0, 10),
        (ENDLESS, len(DATA), len(DATA)),
        (squeezed(np.zeros(2**28, np.uint8)), 0, 100),  # 8 kB for 256 MB
    ],
)
def test_other_frames_are_refused(frame, least, most):
    with pytest.raises(ValueError, match="Expected every tensor of the compressed file"):
        expanded(memoryview(frame), least, most)


def test_a_missing_library_is_told_with_its_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "zstandard", None)
    with pytest.raises(ImportError, match=r"lightning-prune\[compress\]"):
        squeezed(DATA)
