from typing import Any

import pytest

from lightning_prune.arguments import check_at_least, check_kind, check_list, check_sparsity
from lightning_prune.schedules import OneShot, Schedule


def test_a_count_passes():
    check_at_least("n", 3, 3)


def test_less_is_refused():
    with pytest.raises(ValueError, match="Expected `n` to be an integer of at least 3, but got 2"):
        check_at_least("n", 2, 3)


@pytest.mark.parametrize("sparsity", [0, 0.0, 0.99])
def test_a_sparsity_lies_from_zero_to_below_one(sparsity: float) -> None:
    assert check_sparsity(sparsity) is None


@pytest.mark.parametrize("sparsity", [-0.1, 1.0, float("nan"), float("inf")])
def test_a_sparsity_out_of_range_is_refused(sparsity: float) -> None:
    with pytest.raises(ValueError, match=r"Expected `sparsity` to be a fraction in \[0, 1\)"):
        check_sparsity(sparsity)


@pytest.mark.parametrize("sparsity", ["0.5", None])
def test_a_sparsity_that_is_no_number_is_refused(sparsity: Any) -> None:
    with pytest.raises(TypeError, match=f"Expected `sparsity`.*but got {sparsity!r}"):
        check_sparsity(sparsity)


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
