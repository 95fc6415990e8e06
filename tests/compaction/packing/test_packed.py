"""A tensor comes back bit for bit, and takes little room."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from lightning_prune.compaction.packing import Packed, pack_tensor, unpack_tensor

pytest.importorskip("zstandard")
TYPES = [
    torch.float32,
    torch.float64,
    torch.float16,
    torch.bfloat16,
    torch.complex64,
    torch.int64,
    torch.int8,
    torch.uint8,
    torch.bool,
    torch.float8_e4m3fn,
]


def bits(tensor: Tensor) -> Tensor:
    flat = torch.view_as_real(tensor) if tensor.is_complex() else tensor
    return flat.contiguous().reshape(-1).view(torch.uint8)


def assert_same(tensor: Tensor, found: Tensor) -> None:
    assert (found.dtype, found.shape) == (tensor.dtype, tensor.shape)
    assert found.is_contiguous()
    assert torch.equal(bits(found), bits(tensor.contiguous()))


def sparse(*shape: int, density: float = 0.1, dtype: torch.dtype = torch.float32) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    kept = torch.rand(shape, generator=generator) < density
    return torch.where(kept, torch.randn(shape, generator=generator), 0.0).to(dtype)


def restored(packed: Packed) -> Packed:
    return Packed.from_json(packed.data, json.loads(json.dumps(packed.to_json())))


@pytest.mark.parametrize("dtype", TYPES, ids=str)
@pytest.mark.parametrize("shape", [(), (0,), (0, 3), (7,), (40, 30), (8, 6, 3, 3), (2, 0, 3)])
@pytest.mark.parametrize("density", [0.0, 0.1, 1.0])
def test_every_tensor_comes_back_bit_for_bit(dtype, shape, density):
    tensor = sparse(*shape, density=density, dtype=dtype)
    assert_same(tensor, unpack_tensor(restored(pack_tensor(tensor))))


def test_what_is_not_finite_and_negative_zeros_come_back():
    tensor = torch.tensor([0.0, -0.0, float("nan"), float("inf"), -float("inf"), 1e-45, 0.0])
    assert_same(tensor, unpack_tensor(pack_tensor(tensor)))
    assert_same(tensor.conj(), unpack_tensor(pack_tensor(tensor.conj())))


def test_layouts_other_than_contiguous_are_packed():
    tensor = sparse(8, 6, 3, 3).to(memory_format=torch.channels_last)
    assert_same(tensor, unpack_tensor(pack_tensor(tensor)))
    assert_same(sparse(9, 4).T, unpack_tensor(pack_tensor(sparse(9, 4).T)))


def of_inputs(n: int, m: int, *shape: int) -> Tensor:
    """Return weights of which, along the second dimension, ``n`` of every ``m`` are not zero."""
    weight = torch.randn(*shape, generator=torch.Generator().manual_seed(0)).movedim(1, -1)
    rows = weight.reshape(-1, m)
    rows.scatter_(1, rows.abs().argsort(1)[:, : m - n], 0.0)
    return rows.view(weight.shape).movedim(-1, 1)


@pytest.mark.parametrize(
    ("tensor", "form", "most"),
    [
        (torch.randn(300, 300), "dense", 0.95),
        (sparse(300, 300, density=0.5), "bitmap", 0.47),
        (sparse(300, 300, density=0.1), "gaps", 0.105),
        (sparse(300, 300, density=0.01), "gaps", 0.014),
        (of_inputs(1, 4, 64, 64, 3, 3), "1:4", 0.24),
        (of_inputs(1, 16, 300, 320), "1:16", 0.065),
        (torch.zeros(300, 300), "gaps", 0.001),
    ],
)
def test_the_form_is_the_smallest(tensor, form, most):
    packed = pack_tensor(tensor)
    assert packed.form == form
    assert packed.data.numel() / tensor.nbytes < most
    assert_same(tensor, unpack_tensor(packed))


def test_other_types_are_refused():
    with pytest.raises(ValueError, match=r"Expected `model` to hold tensors of .*complex128"):
        pack_tensor(torch.zeros(2, dtype=torch.complex128))


PACKED = pack_tensor(sparse(40, 30))
TEXT = json.loads(json.dumps(PACKED.to_json()))
CHANGES = {
    "no object": None,
    "nothing": {},
    "more": {**TEXT, "more": 1},
    "another form": {**TEXT, "form": "3:4"},
    "a form that is no word": {**TEXT, "form": ["gaps"]},
    "another type": {**TEXT, "dtype": "quint8"},
    "a type that is none": {**TEXT, "dtype": "nn"},
    "a size that is none": {**TEXT, "shape": [40, -30]},
    "a size that is no number": {**TEXT, "shape": [40, "30"]},
    "a frame too few": {**TEXT, "sizes": TEXT["sizes"][:-1]},
    "a frame too many": {**TEXT, "sizes": [*TEXT["sizes"], 0]},
    "a frame that is longer": {**TEXT, "sizes": [TEXT["sizes"][0] + 1, *TEXT["sizes"][1:]]},
    "one too few for its form": {**TEXT, "form": "dense"},
}


@pytest.mark.parametrize("found", CHANGES.values(), ids=CHANGES)
def test_texts_that_do_not_fit_are_refused(found):
    with pytest.raises(ValueError, match="Expected every tensor of the compressed file"):
        Packed.from_json(PACKED.data, found)


def test_data_that_are_no_bytes_are_refused():
    for data in (PACKED.data.float(), PACKED.data[:-1], PACKED.data[None]):
        with pytest.raises(ValueError, match="bytes, as many as its frames have"):
            Packed.from_json(data, TEXT)


WRONG = {
    "a smaller shape": replace(PACKED, shape=(4, 3)),
    "another form": replace(PACKED, form="bitmap"),
    "another width": replace(PACKED, dtype=torch.int32, form="2:4"),
    "frames cut elsewhere": replace(PACKED, sizes=tuple(reversed(PACKED.sizes))),
    "broken bytes": replace(PACKED, data=PACKED.data ^ 255),
    "values that are no truth": replace(
        pack_tensor(torch.full((3,), 7, dtype=torch.uint8)), dtype=torch.bool
    ),
}


@pytest.mark.parametrize("packed", WRONG.values(), ids=WRONG)
def test_frames_that_do_not_fit_are_refused(packed):
    with pytest.raises(ValueError, match="Expected every tensor of the compressed file"):
        unpack_tensor(packed)


def test_packed_tensors_are_compared_by_what_they_hold():
    assert PACKED.is_same(pack_tensor(sparse(40, 30)))
    assert not PACKED.is_same(pack_tensor(sparse(40, 30, density=0.2)))
    assert not PACKED.is_same(replace(PACKED, shape=(30, 40)))
