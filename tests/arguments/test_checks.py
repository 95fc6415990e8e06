from typing import Any

import pytest

from lightning_prune.arguments import (
    check_choice,
    check_fraction,
    check_integer,
    check_kind,
    check_list,
    check_number,
    check_positive,
    check_seed,
    check_sparsity,
)
from lightning_prune.schedules import OneShot, Schedule

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


@pytest.mark.parametrize("value", [0, 0.5, INFINITY])
def test_a_number_may_be_whole_or_infinite(value: Any) -> None:
    assert check_number("x", value, 0.0, "It is a bound.") is None


@pytest.mark.parametrize("value", [-0.1, NAN, True])
def test_other_numbers_are_not_large_enough(value: Any) -> None:
    with pytest.raises(ValueError, match="Expected `x` to be a number of at least 0, but got"):
        check_number("x", value, 0.0, "It is a bound.")


@pytest.mark.parametrize("value", [0.0, -1, NAN, True])
def test_zero_is_not_positive(value: Any) -> None:
    assert check_positive("x", 1e-9, "It is a length.") is None
    with pytest.raises(ValueError, match="Expected `x` to be greater than 0, but got"):
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


@pytest.mark.parametrize("patterns", [(), ["head"], ("a*", "b")])
def test_patterns_are_lists_of_strings(patterns: Any) -> None:
    assert check_list("include", patterns) is None


@pytest.mark.parametrize(
    ("patterns", "message"),
    [
        ("head", r"Write \['head'\]"),
        ([3], r"got \[3\]. Write each as a string"),
        (None, "got None.*leave the argument out"),
    ],
)
def test_other_patterns_are_refused(patterns: Any, message: str) -> None:
    with pytest.raises(TypeError, match=f"Expected `include` to be a list.*{message}"):
        check_list("include", patterns)


@pytest.mark.parametrize("value", [OneShot, "OneShot", 3])
def test_objects_are_not_classes_nor_names(value: Any) -> None:
    assert check_kind("schedule", OneShot(epoch=1), Schedule) is None
    with pytest.raises(TypeError, match="Expected `schedule` to be an object of Schedule"):
        check_kind("schedule", value, Schedule)
