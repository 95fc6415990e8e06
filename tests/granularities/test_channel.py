import pytest

from lightning_prune.granularities import Channel, UnitRules
from lightning_prune.units.group import Axis, Group, Member, Structure


def group(units):
    return Group("conv", units, (Member(Axis("conv.weight", 0), "out", units),))


def test_channels_are_the_coupled_groups():
    channels = group(8)
    assert Channel().groups({}, Structure((channels,))) == [channels]


def test_options_are_rules():
    assert Channel("l2", "max", 8, 16).rules == UnitRules("l2", "max", 8, 16)


@pytest.mark.parametrize(
    ("round_to", "min_units", "units", "floor"),
    [(1, 1, 5, 1), (1, 3, 5, 3), (1, 9, 5, 5), (8, 1, 20, 8), (8, 9, 20, 16), (8, 1, 7, 7)],
)
def test_the_floor(round_to, min_units, units, floor):
    assert Channel(round_to=round_to, min_units=min_units).floor(group(units)) == floor


@pytest.mark.parametrize("option", ["round_to", "min_units"])
@pytest.mark.parametrize("value", [0, -1, 2.5, True])
def test_refuses_what_is_no_count(option, value):
    with pytest.raises(ValueError, match=f"Expected `{option}` to be an integer of at least 1"):
        Channel(**{option: value})
