"""What stands in for a module returns something of the same form."""

from __future__ import annotations

import ast
import json
from collections import namedtuple
from collections.abc import Mapping, Sequence
from typing import Any

import pytest
import torch
from torch import Tensor

from lightning_prune.errors import RewriteError
from lightning_prune.runtime.corrections import ZERO, GiveBack, Pin, correction_from_json, form_of

X = torch.arange(3.0)
OTHER = torch.zeros(3)


def restored(form: Any) -> Any:
    """Return a form after it was written to a file."""
    return correction_from_json(json.loads(json.dumps(GiveBack(form).to_json()))).form


def equal(a: Any, b: Any) -> bool:
    """Tell whether two results are of the same types and values, where tensors are the same."""
    if type(a) is not type(b):
        return False
    if isinstance(a, Tensor):
        return a is b
    if isinstance(a, Mapping):
        return list(a) == list(b) and all(equal(a[key], b[key]) for key in a)
    if isinstance(a, Sequence) and not isinstance(a, str):
        return len(a) == len(b) and all(map(equal, a, b))
    return bool(a == b)


FORMS: dict[str, tuple[Any, Any]] = {
    "a tensor": (OTHER, X),
    "None": (None, None),
    "a tuple": ((OTHER, None), (X, None)),
    "a tuple of one": ((OTHER,), (X,)),
    "an empty tuple": ((), ()),
    "a list": ([OTHER, OTHER], [X, X]),
    "an empty list": ([], []),
    "a dict": ({"a": OTHER, "b": None}, {"a": X, "b": None}),
    "a dict of numbers": ({0: OTHER, 1: (OTHER,)}, {0: X, 1: (X,)}),
    "nested": ((OTHER, [{"a": (None, OTHER)}, ()]), (X, [{"a": (None, X)}, ()])),
    "a number that was given": ((OTHER, 7), (X, 7)),
    "sizes that were given": ((OTHER, (4, 4)), (X, (4, 4))),
    "a word that was given": ([OTHER, "same"], [X, "same"]),
}
GIVEN = (X, 7, (4, 4), "same", OTHER)


@pytest.mark.parametrize(("output", "expected"), FORMS.values(), ids=FORMS)
def test_what_is_given_back_has_the_form_that_was_returned(output, expected):
    form = form_of(output, GIVEN)
    assert restored(form) == form
    assert equal(GiveBack(restored(form))(*GIVEN), expected)


def test_sizes_are_given_back_as_they_are_now():
    form = form_of((OTHER, 2, (3, 3)), (X, 2, (3, 3)))
    assert equal(GiveBack(form)(X, 5, (9, 1)), (X, 5, (9, 1)))


def test_the_size_of_a_tensor_is_given_back():
    form = form_of(torch.Size((2, 3)), (X, torch.Size((2, 3))))
    assert GiveBack(form)(X, torch.Size((4, 5))) == torch.Size((4, 5))


@pytest.mark.parametrize(
    ("args", "kwargs"),
    [((X, OTHER), {}), ((), {"x": X, "y": OTHER}), ((1, None, X), {}), ((None,), {"x": X})],
    ids=["first", "keyword", "after others", "keyword after another"],
)
def test_tensors_are_the_first_one_that_was_given(args, kwargs):
    assert GiveBack(("tensor",))(*args, **kwargs) is X


def test_of_other_sizes_zeros_are_given_back():
    form = form_of(torch.ones(2, 12, 7), (None, torch.ones(2, 4, 7)))
    assert form == ("zeros", -1, 12, -1)
    zeros = GiveBack(restored(form))(torch.ones(5, 4, 3))
    assert (zeros.shape, zeros.any()) == ((5, 12, 3), False)


def test_a_copy_may_be_written_into():
    back = GiveBack(("tensor",), copies=True)(X)
    assert torch.equal(back, X)
    assert back.data_ptr() != X.data_ptr()


def test_without_a_tensor_there_is_none_to_give_back():
    assert GiveBack(("tuple", ("tensor",)))(3) == (None,)


Named = namedtuple("Named", "a b")

REFUSED: dict[str, tuple[Any, str]] = {
    "a number": (3, "int"),
    "a number inside": ((OTHER, 0.5), "float"),
    "a number in a dict": ({"a": True}, "bool"),
    "another size": ((OTHER, (4, 5)), "int"),
    "a named tuple": (Named(OTHER, OTHER), "Named"),
    "a set": ({1}, "set"),
    "a dict with other keys": ({None: OTHER}, "dict"),
    "an object": (object(), "object"),
}


@pytest.mark.parametrize(("output", "name"), REFUSED.values(), ids=REFUSED)
def test_anything_else_may_be_needed(output, name):
    with pytest.raises(RewriteError, match=f"returns {name}, which may be needed"):
        form_of(output, GIVEN)


def test_a_zero_is_a_single_number_of_the_type():
    zero = GiveBack(ZERO)(None, X.double())
    assert (zero.shape, zero.dtype, zero.item()) == ((), torch.float64, 0)


def test_it_stands_in_for_no_expression():
    with pytest.raises(RewriteError, match="GiveBack does not fit x"):
        GiveBack(None).wrap("name", ast.parse("x", mode="eval").body)


def test_of_two_forms_the_later_counts():
    assert GiveBack(("tensor",)).then(GiveBack(ZERO)) == GiveBack(ZERO)
    assert GiveBack(ZERO).then(Pin(2, 1)) is None


@pytest.mark.parametrize(
    "form",
    [
        "tensor",
        ["tensor"],
        ("tensor", 1),
        ("zeros", -2),
        ("zeros", "a"),
        ("argument", -1),
        ("argument", "a"),
        ("tuple", "tensor"),
        ("dict", ("a",)),
        ("dict", (None, ("tensor",))),
        ("call", ("tensor",)),
        (),
        3,
    ],
    ids=str,
)
def test_forms_of_other_kinds_are_refused(form):
    with pytest.raises(ValueError, match="Expected `form`"):
        GiveBack(form)
