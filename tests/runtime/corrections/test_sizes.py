"""Sizes of a call, and of the parts that it splits into, are others; nothing else is."""

import pytest
import torch
from torch import Tensor

from lightning_prune.runtime.corrections import PadWidth, Repad, Resize, Resplit, SizeFactor

X = torch.arange(24.0).reshape(2, 12)
HALF = Resize((SizeFactor(1, 1, 2),))


SIZES = {
    "method": lambda: HALF(X.reshape, 2, 24),
    "method of a tuple": lambda: HALF(X.reshape, (2, 24)),
    "method of a list": lambda: HALF(X.view, [2, 24]),
    "function": lambda: HALF(torch.reshape, X, (2, 24)),
    "keyword": lambda: HALF(torch.reshape, X, shape=(2, 24)),
    "unbound method": lambda: HALF(Tensor.view, X, 2, 24),
    "size of torch": lambda: HALF(X.reshape, torch.Size((2, 24))),
    "left to torch": lambda: Resize((SizeFactor(1, 1, 0),))(X.reshape, 2, 24),
}


@pytest.mark.parametrize("call", SIZES.values(), ids=SIZES)
def test_the_size_at_its_place_is_changed(call):
    assert torch.equal(call(), X)


def test_sizes_before_other_arguments():
    assert Resize((SizeFactor(0, 1, 2),))(torch.full, (8, 3), 0.5).shape == (4, 3)
    assert Resize((SizeFactor(0, 1, 2),))(X.new_full, (8, 3), 0.5).shape == (4, 3)
    assert Resize((SizeFactor(0, 1, 2),))(X.unflatten, 1, (12, 2)).shape == (2, 6, 2)
    assert HALF(torch.zeros, 2, 8, dtype=torch.int).shape == (2, 4)


def test_a_size_that_depends_on_the_input_goes_on_doing_so():
    for height in (3, 5):
        x = torch.zeros(2, 4, height)
        assert HALF(x.reshape, -1, 8 * height).shape == (2, 4 * height)


PARTS = {
    "method": lambda: Resplit((1, 3))(X[:, :4].split, 2, 1),
    "function": lambda: Resplit((1, 3))(torch.split, X[:, :4], 2, 1),
    "keyword of the function": lambda: Resplit((1, 3))(
        torch.split, X[:, :4], split_size_or_sections=2, dim=1
    ),
    "keyword of the method": lambda: Resplit((1, 3))(X[:, :4].split, split_size=2, dim=1),
    "list": lambda: Resplit((1, 3))(X[:, :4].split, [5, 3], 1),
    "indices": lambda: Resplit((1,))(torch.tensor_split, X[:, :4], [5], 1),
    "keyword of indices": lambda: Resplit((1,))(X[:, :4].tensor_split, indices=[5], dim=1),
    "sections": lambda: Resplit((1,))(X[:, :4].tensor_split, 2, 1),
}


@pytest.mark.parametrize("call", PARTS.values(), ids=PARTS)
def test_the_parts_have_other_sizes(call):
    assert [part.shape for part in call()] == [(2, 1), (2, 3)]


def test_fractions_are_multiplied_when_a_call_is_corrected_twice():
    later = Resize((SizeFactor(1, 1, 2), SizeFactor(0, 3, 1)))
    assert HALF.then(later) == Resize((SizeFactor(1, 1, 4), SizeFactor(0, 3, 1)))
    assert HALF.then(Resize((SizeFactor(1, 2, 3),))) == Resize((SizeFactor(1, 1, 3),))
    assert HALF.then(Resplit((1,))) is None


def test_of_two_splits_the_later_counts():
    assert Resplit((4, 4)).then(Resplit((2, 2))) == Resplit((2, 2))
    assert Resplit((4, 4)).then(HALF) is None


@pytest.mark.parametrize(
    "factors", [((1, 1),), ((1, 1, -2),), ((1, 1.0, 2),), ((True, 1, 2),), (("1", 1, 2),)], ids=str
)
def test_fractions_of_other_kinds_are_refused(factors):
    with pytest.raises(ValueError, match="Expected `factors`"):
        Resize(factors)


@pytest.mark.parametrize("parts", [[1, 2], (1, -1), (1.0,), ("a",), 3], ids=str)
def test_parts_of_other_kinds_are_refused(parts):
    with pytest.raises(ValueError, match="Expected `parts`"):
        Resplit(parts)


def test_borders_are_as_wide_as_they_were():
    x = torch.ones(1, 3, 2, 2)
    pad = Repad((PadWidth(4, 4), PadWidth(5, 1)))
    for given in ((0, 0, 1, 0, 2, 6), [0, 0, 1, 0, 9, 9]):
        assert pad(torch.nn.functional.pad, x, given).shape == (1, 8, 3, 2)
        assert pad(torch.nn.functional.pad, x, pad=given, value=1.0).shape == (1, 8, 3, 2)


def test_of_two_paddings_the_later_counts():
    first, later = Repad((PadWidth(4, 4), PadWidth(5, 1))), Repad((PadWidth(5, 2),))
    assert first.then(later) == Repad((PadWidth(4, 4), PadWidth(5, 2)))
    assert first.then(HALF) is None


@pytest.mark.parametrize("widths", [(), ((1,),), ((1, -2),), ((1.0, 2),)], ids=str)
def test_borders_of_other_kinds_are_refused(widths):
    with pytest.raises(ValueError, match="Expected `widths`"):
        Repad(widths)
