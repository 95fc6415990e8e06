"""Every correction calls as the model of full size would have."""

import itertools
import json

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from lightning_prune.runtime.corrections import (
    KINDS,
    Correction,
    Recut,
    attend,
    layer_norm,
    pin,
    pin_arguments,
    renarrow,
    rescale,
    resize,
    resplit,
    rms_norm,
    tensor_of,
)

X = torch.arange(24.0).reshape(2, 12)
HALF = ((1, 1, 2),)

SIZES = {
    "method": lambda: resize(HALF, X.reshape, 2, 24),
    "method of a tuple": lambda: resize(HALF, X.reshape, (2, 24)),
    "method of a list": lambda: resize(HALF, X.view, [2, 24]),
    "function": lambda: resize(HALF, torch.reshape, X, (2, 24)),
    "keyword": lambda: resize(HALF, torch.reshape, X, shape=(2, 24)),
    "unbound method": lambda: resize(HALF, Tensor.view, X, 2, 24),
    "size of torch": lambda: resize(HALF, X.reshape, torch.Size((2, 24))),
    "left to torch": lambda: resize(((1, 1, 0),), X.reshape, 2, 24),
}


@pytest.mark.parametrize("call", SIZES.values(), ids=SIZES)
def test_the_size_at_its_place_is_changed(call):
    assert torch.equal(call(), X)


def test_sizes_before_other_arguments():
    assert resize(((0, 1, 2),), torch.full, (8, 3), 0.5).shape == (4, 3)
    assert resize(((0, 1, 2),), X.new_full, (8, 3), 0.5).shape == (4, 3)
    assert resize(((0, 1, 2),), X.unflatten, 1, (12, 2)).shape == (2, 6, 2)
    assert resize(((1, 1, 2),), torch.zeros, 2, 8, dtype=torch.int).shape == (2, 4)


def test_a_size_that_depends_on_the_input_goes_on_doing_so():
    for height in (3, 5):
        x = torch.zeros(2, 4, height)
        assert resize(HALF, x.reshape, -1, 8 * height).shape == (2, 4 * height)


PARTS = {
    "method": lambda: resplit((1, 3), X[:, :4].split, 2, 1),
    "function": lambda: resplit((1, 3), torch.split, X[:, :4], 2, 1),
    "keyword of the function": lambda: resplit(
        (1, 3), torch.split, X[:, :4], split_size_or_sections=2, dim=1
    ),
    "keyword of the method": lambda: resplit((1, 3), X[:, :4].split, split_size=2, dim=1),
    "list": lambda: resplit((1, 3), X[:, :4].split, [5, 3], 1),
    "indices": lambda: resplit((1,), torch.tensor_split, X[:, :4], [5], 1),
    "keyword of indices": lambda: resplit((1,), X[:, :4].tensor_split, indices=[5], dim=1),
    "sections": lambda: resplit((1,), X[:, :4].tensor_split, 2, 1),
}


@pytest.mark.parametrize("call", PARTS.values(), ids=PARTS)
def test_the_parts_have_other_sizes(call):
    assert [part.shape for part in call()] == [(2, 1), (2, 3)]


class Index:
    def __getitem__(self, index):
        return index


INDEX = Index()
Y = torch.arange(2 * 3 * 8 * 5).reshape(2, 3, 8, 5)
# An index of which one slice is 0:8 along the dimension of 8, and the dimension and the rank that
# torch sees there: those before are indexed, those behind are not.
CUTS = {
    "plain": (INDEX[:, :, 0:8], 2, 4),
    "one": (INDEX[:, :, 0:8, :], 2, 4),
    "ellipsis": (INDEX[..., 0:8, :], 2, 4),
    "ellipsis in front of numbers": (INDEX[..., 0:8, 1], 2, 4),
    "ellipsis behind": (INDEX[:, :, 0:8, ...], 2, 4),
    "new dimension": (INDEX[:, None, :, 0:8], 3, 5),
    "new dimension behind": (INDEX[..., 0:8, None, :], 2, 4),
    "number": (INDEX[1, :, 0:8], 1, 3),
    "two numbers": (INDEX[1, 2, 0:8], 0, 2),
    "tensor": (INDEX[:, torch.tensor([0, 2]), 0:8], 2, 4),
    "list": (INDEX[:, [0, 2, 2], 0:8], 2, 4),
}


@pytest.mark.parametrize(("index", "dim", "rank"), CUTS.values(), ids=CUTS)
def test_the_slice_of_one_dimension_has_other_bounds(index, dim, rank):
    expected = Y[tuple(slice(2, 5) if place == slice(0, 8) else place for place in index)]
    assert torch.equal(Y[Recut(((dim, rank, 2, 5),))[index]], expected)


def test_two_slices_of_one_index():
    cut = Recut(((2, 4, 2, 5), (3, 4, 1, 2)))
    assert torch.equal(Y[cut[:, :, 0:8, 0:9]], Y[:, :, 2:5, 1:2])
    assert torch.equal(Y[cut[..., 0:8, 0:9]], Y[:, :, 2:5, 1:2])


def test_an_index_that_is_no_tuple():
    assert torch.equal(Y[Recut(((0, 4, 1, 2),))[0:8]], Y[1:2])


@pytest.mark.parametrize(
    "call",
    [
        lambda: renarrow((2, 3), X.narrow, 1, 5, 6),
        lambda: renarrow((2, 3), X.narrow, dim=1, start=5, length=6),
        lambda: renarrow((2, 3), torch.narrow, X, 1, start=5, length=6),
    ],
)
def test_narrow_from_another_start_with_another_length(call):
    assert torch.equal(call(), X[:, 2:5])


def test_numbers_are_multiplied_and_tensors_are_not():
    assert pin((2, 1), 4) == 8
    assert isinstance(pin((2, 1), 4), int)
    assert pin((8**0.5, 4**0.5), 4**0.5) == pytest.approx(8**0.5, rel=1e-15)
    assert pin((2, 1), X) is X


def test_numbers_in_a_call():
    assert torch.equal(pin_arguments(((2, 1, "other", 0),), X.mul, 4), X * 8)
    assert torch.equal(pin_arguments(((2, 1, "other", 1),), torch.mul, X, 4), X * 8)
    assert torch.equal(pin_arguments(((2, 1, "alpha", 2),), X.add, X, alpha=4), X * 9)
    both = ((2, 1, "min", 0), (3, 1, "max", 1))
    assert torch.equal(pin_arguments(both, X.clamp, 1, max=3), X.clamp(2, 9))


def test_a_tensor_of_a_number():
    assert tensor_of((2, 1), torch.tensor, 4).item() == 8
    assert tensor_of((2, 1), torch.tensor, data=4, dtype=torch.float64).item() == 8
    assert tensor_of((2, 1), X.new_tensor, 4).dtype == X.dtype


def test_a_mean_over_what_there_was():
    wide = torch.cat([X, torch.zeros(2, 4)], 1)
    assert torch.allclose(rescale(12 / 16, X.mean, 1), wide.mean(1))


def test_attention_with_the_scale_of_the_width_that_there_was():
    q, k, v = torch.randn(3, 1, 2, 5, 4).unbind(0)
    wide = (F.pad(t, (0, 4)) for t in (q, k))
    expected = F.scaled_dot_product_attention(*wide, v)
    found = attend(8**-0.5, F.scaled_dot_product_attention, q, k, v)
    assert torch.allclose(found, expected, atol=1e-6)


VECTORS = list(itertools.product([True, False], [True, False]))


@pytest.mark.parametrize(("weighted", "biased"), VECTORS)
def test_layer_norm_over_the_width_that_there_was(weighted, biased):
    x = torch.randn(3, 4, 5, dtype=torch.float64) + 3
    weight = torch.randn(5, dtype=torch.float64) if weighted else None
    bias = torch.randn(5, dtype=torch.float64) if biased and weighted else None
    wide = F.layer_norm(F.pad(x, (0, 3)), [8], None, None, 1e-3)[..., :5]
    expected = wide if weight is None else wide * weight
    expected = expected if bias is None else expected + bias
    found = layer_norm(8, F.layer_norm, x, [5], weight, bias, 1e-3)
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("eps", [None, 1e-3])
@pytest.mark.parametrize("weighted", [True, False])
def test_rms_norm_over_the_width_that_there_was(weighted, eps):
    x = torch.randn(3, 4, 5, dtype=torch.float64)
    weight = torch.randn(5, dtype=torch.float64) if weighted else None
    wide = F.rms_norm(F.pad(x, (0, 3)), [8], None, eps)[..., :5]
    expected = wide if weight is None else wide * weight
    found = rms_norm(8, F.rms_norm, x, [5], weight, eps)
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)


TWICE = {
    "resize": (((1, 1, 2),), ((1, 1, 2), (0, 3, 1)), ((1, 1, 4), (0, 3, 1))),
    "resplit": ((4, 4), (2, 2), (2, 2)),
    "recut": (((1, 2, 0, 4),), ((1, 2, 0, 2), (0, 2, 1, 2)), ((1, 2, 0, 2), (0, 2, 1, 2))),
    "renarrow": ((0, 4), (0, 2), (0, 2)),
    "pin": ((2, 1), (3, 1), (6, 1)),
    "tensor_of": ((2, 1), (3, 1), (6, 1)),
    "rescale": (0.5, 0.5, 0.25),
}


@pytest.mark.parametrize(("kind", "values"), TWICE.items(), ids=TWICE)
def test_two_corrections_of_one_call_are_one(kind, values):
    first, second, both = values
    assert Correction(kind, first).then(Correction(kind, second)) == Correction(kind, both)


def test_numbers_in_a_call_are_multiplied_twice():
    first, second = (Correction("pin_arguments", ((n, 1, "other", 0),)) for n in (2, 3))
    both = first.then(second)
    assert both is not None
    assert torch.equal(both.function()(X.mul, 4), X * 24)


def test_corrections_of_two_kinds_do_not_go_together():
    assert Correction("pin", (2, 1)).then(Correction("rescale", 0.5)) is None


def test_a_correction_is_data():
    assert set(KINDS) >= set(TWICE)
    correction = Correction("resize", HALF)
    assert hash(correction) == hash(Correction("resize", HALF))
    assert json.loads(json.dumps(correction.value)) == [[1, 1, 2]]
    assert torch.equal(correction.function()(X.reshape, 2, 24), X)
