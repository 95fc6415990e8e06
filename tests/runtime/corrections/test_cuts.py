"""Bounds of slices and of what is narrowed are others; the rest of an index is not."""

import ast

import pytest
import torch

from lightning_prune.errors import RewriteError
from lightning_prune.runtime.corrections import CutBounds, Recut, Renarrow

X = torch.arange(24.0).reshape(2, 12)


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
    assert torch.equal(Y[Recut((CutBounds(dim, rank, 2, 5),))[index]], expected)


def test_two_slices_of_one_index():
    cut = Recut((CutBounds(2, 4, 2, 5), CutBounds(3, 4, 1, 2)))
    assert torch.equal(Y[cut[:, :, 0:8, 0:9]], Y[:, :, 2:5, 1:2])
    assert torch.equal(Y[cut[..., 0:8, 0:9]], Y[:, :, 2:5, 1:2])


def test_an_index_that_is_no_tuple():
    assert torch.equal(Y[Recut((CutBounds(0, 4, 1, 2),))[0:8]], Y[1:2])


@pytest.mark.parametrize(
    "call",
    [
        lambda: Renarrow(2, 3)(X.narrow, 1, 5, 6),
        lambda: Renarrow(2, 3)(X.narrow, dim=1, start=5, length=6),
        lambda: Renarrow(2, 3)(torch.narrow, X, 1, start=5, length=6),
    ],
)
def test_narrow_from_another_start_with_another_length(call):
    assert torch.equal(call(), X[:, 2:5])


def test_of_two_cuts_of_a_dimension_the_later_counts():
    first = Recut((CutBounds(1, 2, 0, 4),))
    later = Recut((CutBounds(1, 2, 0, 2), CutBounds(0, 2, 1, 2)))
    assert first.then(later) == later
    assert Renarrow(0, 4).then(Renarrow(0, 2)) == Renarrow(0, 2)
    assert first.then(Renarrow(0, 2)) is Renarrow(0, 2).then(first) is None


def test_only_a_subscript_is_cut():
    node = ast.parse("x[1:2]", mode="eval").body
    cut = Recut((CutBounds(0, 1, 0, 1),))
    assert ast.unparse(cut.wrap("cut", node)) == "x[cut[1:2]]"
    with pytest.raises(RewriteError, match=r"Recut does not fit x\(1\)"):
        cut.wrap("cut", ast.parse("x(1)", mode="eval").body)


@pytest.mark.parametrize(
    "cut", [(2, 2, 0, 1), (0, 1, 2, 1), (0, 1, 2), (0, 1, -1, 2), (0, 1, 0, 2.0)], ids=str
)
def test_bounds_of_other_kinds_are_refused(cut):
    with pytest.raises(ValueError, match="Expected `cuts`"):
        Recut((cut,))


@pytest.mark.parametrize("bounds", [(-1, 2), (1, None), ("1", 2)], ids=str)
def test_starts_and_lengths_of_other_kinds_are_refused(bounds):
    with pytest.raises(ValueError, match=r"Expected `(start|length)`"):
        Renarrow(*bounds)
