"""What stands in for a branch returns what is left, or something of the same form."""

from __future__ import annotations

import json
from collections import namedtuple
from collections.abc import Mapping, Sequence
from typing import Any

import pytest
import torch
from torch import Tensor

from lightning_prune.compaction.storage import _plain
from lightning_prune.errors import RewriteError
from lightning_prune.runtime.corrections import Correction
from lightning_prune.runtime.stand_ins import form_of, give_back, keep

X = torch.arange(3.0)
OTHER = torch.zeros(5)


def test_what_is_kept_is_the_term_itself():
    assert keep(False, X) is X


def test_a_copy_shares_no_memory_and_passes_gradients_on():
    term = torch.ones(3, requires_grad=True)
    copied = keep(True, term)
    assert torch.equal(copied, term)
    copied.detach().add_(1)
    assert term.tolist() == [1, 1, 1]
    copied.sum().backward()
    assert term.grad.tolist() == [1, 1, 1]


def restored(form: Any) -> Any:
    """Return a form after it was written to a file."""
    return _plain(json.loads(json.dumps(form)))


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
    assert equal(give_back(restored(form), *GIVEN), expected)


def test_sizes_are_given_back_as_they_are_now():
    form = form_of((OTHER, 2, (3, 3)), (X, 2, (3, 3)))
    assert equal(give_back(form, X, 5, (9, 1)), (X, 5, (9, 1)))


def test_the_size_of_a_tensor_is_given_back():
    form = form_of(torch.Size((2, 3)), (X, torch.Size((2, 3))))
    assert give_back(form, X, torch.Size((4, 5))) == torch.Size((4, 5))


@pytest.mark.parametrize(
    ("args", "kwargs"),
    [((X, OTHER), {}), ((), {"x": X, "y": OTHER}), ((1, None, X), {}), ((None,), {"x": X})],
    ids=["first", "keyword", "after others", "keyword after another"],
)
def test_tensors_are_the_first_one_that_was_given(args, kwargs):
    assert give_back(("tensor",), *args, **kwargs) is X


def test_without_a_tensor_there_is_none_to_give_back():
    assert give_back(("tuple", ("tensor",)), 3) == (None,)


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


def test_corrections_find_them():
    assert Correction("keep_left", False).function()(X) is X
    assert Correction("keep_right", True).function()(X) is not X
    assert Correction("give_back", ("list", ("tensor",))).function()(X) == [X]
