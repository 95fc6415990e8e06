"""Positions come back from every form that tells them, and others are refused."""

from __future__ import annotations

import numpy as np
import pytest

from lightning_prune.compaction.packing.frames import squeezed
from lightning_prune.compaction.packing.positions import FORMS, positions, told

pytest.importorskip("zstandard")
RNG = np.random.default_rng(0)


def of_window(n: int, m: int) -> np.ndarray:
    return (RNG.random((50, m)).argsort(1).argsort(1) < n).ravel()


USED = {
    "few": RNG.random(5000) < 0.001,
    "some": RNG.random(5001) < 0.1,
    "most": RNG.random(77) < 0.9,
    "none": np.zeros(9, bool),
    "the last": np.arange(1000) == 999,
    "the first": np.arange(1000) == 0,
    "gaps of whole bytes": np.isin(np.arange(2000), [254, 510, 511, 1021]),
    "an empty tensor": np.zeros(0, bool),
    **{f"{n} of {m}": of_window(n, m) for n, m in ((1, 2), (2, 4), (1, 8), (2, 16))},
}


@pytest.mark.parametrize("used", USED.values(), ids=USED)
def test_every_form_tells_the_same_positions(used):
    forms = dict(told(used))
    assert forms.keys() <= set(FORMS)
    for form, data in forms.items():
        found = positions(form, memoryview(squeezed(data)), used.size)
        assert np.array_equal(found, np.flatnonzero(used)), form


def test_windows_are_told_where_each_holds_as_many():
    assert {form for form, _ in told(of_window(2, 4))} == {"bitmap", "gaps", "2:4"}
    assert {form for form, _ in told(of_window(1, 16))} >= {"1:16"}
    assert {form for form, _ in told(USED["some"])} == {"bitmap", "gaps"}


BAD = {
    "a bit behind the end": ("bitmap", [0, 1], 15),
    "too few bits": ("bitmap", [255], 15),
    "a gap over the end": ("gaps", [3, 4], 8),
    "a gap without an end": ("gaps", [3, 255], 500),
    "more gaps than elements": ("gaps", [0] * 9, 8),
    "a place twice": ("2:4", [0b00000000], 8),
    "places out of order": ("2:4", [0b11000111], 8),
    "too many places": ("2:4", [0b00010001, 0], 8),
}


@pytest.mark.parametrize(("form", "data", "size"), BAD.values(), ids=BAD)
def test_other_positions_are_refused(form, data, size):
    frame = memoryview(squeezed(np.array(data, np.uint8)))
    with pytest.raises(ValueError, match="Expected every tensor of the compressed file"):
        positions(form, frame, size)
