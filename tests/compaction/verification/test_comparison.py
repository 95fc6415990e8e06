"""How far what two models returned lies apart."""

import pytest
import torch

from lightning_prune.compaction.verification.comparison import (
    Errors,
    errors_between,
    is_as_near,
    is_same,
)
from lightning_prune.compaction.verification.runs import Run
from lightning_prune.errors import VerificationError

INFINITE = float("inf")


def run(*leaves):
    return Run(list(leaves), [], lowers_precision=False, draws=False)


def tensor(*values):
    return torch.tensor(values)


def test_the_error_is_relative_to_the_largest_number():
    errors = errors_between(run(tensor(1.0, -4.0)), run(tensor(1.5, -4.0)))
    assert errors == Errors(0.5, 0.5 / 4)


def test_the_largest_error_of_all_outputs_counts():
    errors = errors_between(run(tensor(1.0), 2.0), run(tensor(1.25), 1.0))
    assert errors == Errors(1.0, 0.5)
    assert Errors(1.0, 0.0) | Errors(0.0, 2.0) == Errors(1.0, 2.0)


def test_numbers_of_fewer_digits_are_subtracted_in_float32():
    one, other = tensor(1.0, 1.0).bfloat16(), tensor(1.0, 1.0078125).bfloat16()
    assert errors_between(run(one), run(other)).max_abs_error == 0.0078125


def test_numbers_of_more_digits_are_subtracted_in_these():
    errors = errors_between(run(tensor(1.0).double()), run(tensor(1.0).double() + 1e-9))
    assert errors.max_abs_error == pytest.approx(1e-9, rel=1e-3)


@pytest.mark.parametrize(
    ("expected", "obtained", "message"),
    [
        (tensor(1.0), tensor(1.0, 2.0), r"outputs have shapes \[\(2,\)\] instead of \[\(1,\)\]"),
        (tensor(1.0), 1.0, "outputs have shapes"),
        (1.0, 1, "differ in their types"),
        (8, 4, "outputs hold 4 instead of 8"),
        ("a", "b", "outputs hold 'b' instead of 'a'"),
        (tensor(1, 2), tensor(1, 3), "differ in whole numbers"),
        (tensor(True), tensor(False), "differ in whole numbers"),
        (tensor(torch.nan), tensor(INFINITE), "where they are finite"),
        (tensor(1.0), tensor(torch.nan), "where they are finite"),
        (tensor(INFINITE), tensor(-INFINITE), "where they are finite"),
    ],
    ids=str,
)
def test_what_has_no_distance_must_be_equal(expected, obtained, message):
    with pytest.raises(VerificationError, match=message):
        errors_between(run(expected), run(obtained))
    assert not is_same(run(expected), run(obtained))
    errors_between(run(expected), run(expected))


@pytest.mark.parametrize("made_up", [False, True])
def test_what_is_nan_on_inputs_that_nobody_gave_tells_nothing(made_up):
    expected, obtained = run(tensor(1.0, torch.nan)), run(tensor(1.5, 7.0))
    if made_up:
        assert errors_between(expected, obtained, made_up=True) == Errors(0.5, 0.5)
    else:
        with pytest.raises(VerificationError, match="where they are finite"):
            errors_between(expected, obtained)
    for one in (torch.nan, INFINITE):  # but what was a number stays one
        with pytest.raises(VerificationError, match="where they are finite"):
            errors_between(run(tensor(1.0)), run(tensor(one)), made_up=made_up)


def test_complex_numbers_are_compared_by_both_parts():
    one, other = tensor(1 + 2j), tensor(1 + 1j)
    assert errors_between(run(one), run(other)).max_abs_error == 1


def test_nothing_is_equal_to_nothing():
    assert errors_between(run(torch.zeros(0)), run(torch.zeros(0))) == Errors()


@pytest.mark.parametrize(
    ("compact", "is_near"),
    [(0.99, True), (1.0 + 2.9e-2, True), (1.06, False), (torch.nan, None)],
)
def test_rounding_is_held_to_the_rounding_of_the_masked_model(compact, is_near):
    runs = [run(torch.tensor([value])) for value in (1.0, 1.01, compact)]
    if is_near is None:
        with pytest.raises(VerificationError, match="finite"):
            is_as_near(*runs)
    else:
        assert is_as_near(*runs) == is_near


def test_a_model_that_rounds_nothing_allows_the_rounding_of_its_type():
    eps = torch.finfo(torch.bfloat16).eps
    one = torch.tensor([1.0])
    for steps, is_near in ((1, True), (3, False)):
        compact = torch.tensor([1 + steps * eps]).bfloat16()
        assert is_as_near(run(one), run(one.bfloat16()), run(compact)) == is_near
