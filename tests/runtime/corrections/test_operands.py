"""Operands are picked from, refilled or squared as the model of full size would have had them."""

import ast

import pytest
import torch

from lightning_prune.errors import RewriteError
from lightning_prune.runtime.corrections import Pick, Refill, SquareCentred

X = torch.arange(24.0).reshape(2, 4, 3)
KEPT = (0, 2)


def test_positions_are_picked_from_what_has_the_full_size() -> None:
    pick = Pick(False, 2, 4, KEPT)
    assert torch.equal(pick(X), X[:, [0, 2]])
    small = torch.ones(2, 2, 3)
    assert pick(small) is small
    assert pick(torch.ones(3)).shape == (3,)
    assert pick("sum") == "sum"


def test_zeros_come_back_where_they_were() -> None:
    refilled = Refill(False, 2, 4, KEPT)(X[:, [0, 2]])
    assert torch.equal(refilled[:, [0, 2]], X[:, [0, 2]])
    assert not refilled[:, [1, 3]].any()


@pytest.mark.parametrize("dims", [(2,), (2, 1), (2, 1, 3)])
def test_the_mean_of_squares_counts_what_is_gone(dims: tuple[int, ...]) -> None:
    full = torch.randn(2, 4, 3, dtype=torch.float64)
    full[:, [1, 3]] = 0
    axes = [-d for d in dims]
    expected = full.var(axes, unbiased=False)
    left = full[:, [0, 2]]
    count = full.numel() / expected.numel()
    centred = left - left.sum(axes, keepdim=True) / count
    found = SquareCentred(False, dims, 2, 4)(centred).sum(axes) / count
    torch.testing.assert_close(found, expected)


def test_a_second_compaction_picks_from_what_is_left() -> None:
    assert Pick(True, 1, 6, (1, 3, 5)).then(Pick(True, 1, 3, (0, 2))) == Pick(True, 1, 6, (1, 5))
    assert Refill(True, 1, 6, (1, 3)).then(Refill(True, 1, 2, (1,))) == Refill(True, 1, 6, (3,))
    assert Pick(True, 1, 6, (1, 3, 5)).then(Pick(True, 1, 4, (0, 2))) is None
    assert Refill(True, 1, 6, (1, 3)).then(Refill(True, 2, 2, (1,))) is None
    first = SquareCentred(False, (1,), 4, 8)
    assert first.then(SquareCentred(False, (1,), 3, 4)) == SquareCentred(False, (1,), 3, 8)
    assert first.then(SquareCentred(False, (2,), 3, 4)) is None


WRAPPED = {
    "x.add(y)": (Pick(True, 1, 2, (0,)), "f(x).add(f(y))"),
    "torch.add(x, other=y)": (Pick(False, 1, 2, (0,)), "torch.add(f(x), other=f(y))"),
    "x + 1": (Pick(False, 1, 2, (0,)), "f(x) + 1"),
    "x.var(1)": (Refill(True, 1, 2, (0,)), "f(x).var(1)"),
    "torch.var(x, 1)": (Refill(False, 1, 2, (0,)), "torch.var(f(x), 1)"),
    "x ** 2": (SquareCentred(False, (1,), 1, 2), "f(x)"),
    "x.pow(2)": (SquareCentred(True, (1,), 1, 2), "f(x)"),
    "torch.square(x)": (SquareCentred(False, (1,), 1, 2), "f(x)"),
}


@pytest.mark.parametrize(("source", "row"), WRAPPED.items(), ids=WRAPPED)
def test_each_form_of_a_call_is_wrapped(source: str, row: tuple[Pick, str]) -> None:
    correction, expected = row
    node = ast.parse(source, mode="eval").body
    assert ast.unparse(correction.wrap("f", node)) == expected


@pytest.mark.parametrize("source", ["torch.var(*x)", "torch.var(input=x)"])
def test_an_operand_that_is_not_at_its_place_is_refused(source: str) -> None:
    node = ast.parse(source, mode="eval").body
    for correction in (Refill(False, 1, 2, (0,)), SquareCentred(False, (1,), 1, 2)):
        with pytest.raises(RewriteError, match="does not fit"):
            correction.wrap("f", node)


@pytest.mark.parametrize("kept", [(), (1, 0), (0, 0), (0, 1), (0, 2)])
def test_positions_that_cannot_be_are_refused(kept: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="ascending positions"):
        Pick(False, 1, 2, kept)
