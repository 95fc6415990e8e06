from typing import Any

import numpy as np
import pytest

from lightning_prune.arguments import (
    check_choice,
    check_flags,
    check_fraction,
    check_integer,
    check_name,
    check_number,
    check_positive,
    check_seed,
    check_sparsity,
)

NAN, INFINITY = float("nan"), float("inf")


def test_an_integer_may_be_the_lowest_allowed():
    assert check_integer("n", 3, 3, "It counts.") is None


@pytest.mark.parametrize("value", [2, 3.0, True, NAN])
def test_other_numbers_are_no_such_integer(value: Any) -> None:
    message = f"Expected `n` to be an integer of at least 3, but got {value!r}. It counts."
    with pytest.raises(ValueError, match=message):
        check_integer("n", value, 3, "It counts.")


@pytest.mark.parametrize("value", [0, -1, 2**64 - 1])
def test_seeds_are_what_torch_takes(value: Any) -> None:
    assert check_seed("seed", value) is None


@pytest.mark.parametrize("value", [0.5, 2**64, False])
def test_other_numbers_are_no_seed(value: Any) -> None:
    with pytest.raises(ValueError, match="Expected `seed` to be an integer in"):
        check_seed("seed", value)


@pytest.mark.parametrize("value", [0, 0.5, np.float32(0.5), np.int64(1)])
def test_a_number_may_be_whole(value: Any) -> None:
    assert check_number("x", value, 0.0, "It is a bound.") is None


@pytest.mark.parametrize("value", [-0.1, NAN, INFINITY, True])
def test_other_numbers_are_not_large_enough(value: Any) -> None:
    with pytest.raises(ValueError, match="Expected `x` to be a finite number of at least 0"):
        check_number("x", value, 0.0, "It is a bound.")


@pytest.mark.parametrize("value", [0.0, -1, NAN, INFINITY, True])
def test_zero_is_not_positive(value: Any) -> None:
    assert check_positive("x", 1e-9, "It is a length.") is None
    with pytest.raises(ValueError, match="Expected `x` to be a finite number greater"):
        check_positive("x", value, "It is a length.")


@pytest.mark.parametrize(
    ("interval", "zero", "one"),
    [("[0, 1)", True, False), ("(0, 1]", False, True), ("(0, 1)", False, False)],
)
def test_the_interval_says_which_bounds_are_fractions(interval: Any, zero: bool, one: bool) -> None:
    def holds(value: float) -> bool:
        try:
            return check_fraction("x", value, interval, "It is a share.") is None
        except ValueError:
            return False

    assert [holds(value) for value in (0.0, 0.5, 1)] == [zero, True, one]
    assert not any(holds(value) for value in (-0.1, 1.1, NAN, INFINITY, True, False))


@pytest.mark.parametrize("sparsity", [0, 0.0, 0.99])
def test_a_sparsity_lies_from_zero_to_below_one(sparsity: float) -> None:
    assert check_sparsity(sparsity) is None


@pytest.mark.parametrize("sparsity", [-0.1, 1.0, NAN, INFINITY, False])
def test_a_sparsity_out_of_range_is_refused(sparsity: float) -> None:
    with pytest.raises(ValueError, match=r"Expected `sparsity` to be a fraction in \[0, 1\)"):
        check_sparsity(sparsity)


@pytest.mark.parametrize("value", ["0.5", None, [1]])
def test_what_is_no_number_is_of_the_wrong_type(value: Any) -> None:
    for check in (
        lambda: check_sparsity(value, "x"),
        lambda: check_fraction("x", value, "(0, 1]", "."),
        lambda: check_integer("x", value, 0, "."),
        lambda: check_number("x", value, 0.0, "."),
        lambda: check_positive("x", value, "."),
        lambda: check_seed("x", value),
    ):
        with pytest.raises(TypeError, match=r"Expected `x` to be .*, but got"):
            check()


@pytest.mark.parametrize(
    ("choices", "value", "message"),
    [
        (("min", "max"), "low", "Expected `x` to be 'min' or 'max', but got 'low'. It decides."),
        (("a", "b", "c"), None, "Expected `x` to be 'a', 'b' or 'c', but got None"),
        ((1, 2), 3, "Expected `x` to be 1 or 2, but got 3"),
        ((1, 2), True, "Expected `x` to be 1 or 2, but got True"),
        (("a", "b"), ["a"], r"but got \['a'\]"),
    ],
)
def test_only_the_choices_pass(choices: Any, value: Any, message: str) -> None:
    assert check_choice("x", choices[-1], choices, "It decides.") is None
    with pytest.raises(ValueError, match=message):
        check_choice("x", value, choices, "It decides.")


@pytest.mark.parametrize("value", [0, 1, None, "yes", np.True_])
def test_a_flag_is_true_or_false(value: Any) -> None:
    assert check_flags(flag=True, other=False) is None
    with pytest.raises(TypeError, match="Expected `flag` to be True or False, but got"):
        check_flags(other=True, flag=value)


@pytest.mark.parametrize(("value", "error"), [("", ValueError), (None, TypeError), (3, TypeError)])
def test_a_name_is_a_text_with_letters(value: Any, error: type[Exception]) -> None:
    assert check_name("name", "a", "It is a key.") is None
    with pytest.raises(error, match=r"Expected `name` to be a name, but got .*\. It is a key"):
        check_name("name", value, "It is a key.")
