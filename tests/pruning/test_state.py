import pytest

from lightning_prune.pruning.state import VERSION, check_groups_match
from lightning_prune.units.group import Group

GROUPS = (Group("a", 2, ()), Group("b._orig_mod.c", 3, ()))
STATE = {"version": VERSION, "groups": ["a", "b.c"], "units": [2, 3]}


def test_names_are_those_of_the_uncompiled_model() -> None:
    assert check_groups_match(STATE, GROUPS) is None


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"version": 99}, "of version 1, but got 99"),
        ({"groups": ["a", "d"]}, "b.c with no units instead of 3; d with 3 units instead of none"),
        ({"units": [2, 4]}, "b.c with 4 units instead of 3"),
        ({"groups": ["b.c", "a"], "units": [3, 2]}, "but got another order"),
    ],
)
def test_a_state_of_something_else_is_refused(change, message) -> None:
    with pytest.raises(ValueError, match=message):
        check_groups_match(STATE | change, GROUPS)
