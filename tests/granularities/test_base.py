"""The contract that every granularity passes."""

import pickle
from dataclasses import replace
from functools import partial

import pytest
import torch
from torch import nn

from lightning_prune import granularities
from lightning_prune.granularities import NM, Block, Channel, Expert, Granularity, Head, UnitRules
from lightning_prune.units.group import Axis, Group, Member, Structure

EXAMPLES = {
    "NM": [NM(2, 4), NM(1, 2)],
    "Block": [Block(2, 2), Block(1, 4, reduce="mean", normalize="none")],
    "Expert": [Expert(), Expert(reduce="mean", min_units=2)],
    "Head": [Head(), Head(min_units=2)],
    "Channel": [Channel(), Channel(round_to=2, min_units=1, reduce="l2")],
}
LEAVES = [n for n in granularities.__all__ if n not in {"Granularity", "UnitRules"}]
ALL = [
    pytest.param(g, id=repr(g))
    for name in LEAVES
    for g in EXAMPLES.get(name) or [getattr(granularities, name)()]
]
MODEL = nn.Sequential(nn.Linear(8, 4), nn.Linear(4, 2), nn.Conv2d(4, 2, 3), nn.Linear(4, 8))
ROWS = torch.tensor([[0, 1, 4, 5], [2, 3, 6, 7]])  # of two heads in two projections
STRUCTURE = Structure(
    coupled=(
        Group(
            "0", 4, (Member(Axis("0.weight", 0), "out", 4), Member(Axis("1.weight", 1), "in", 4))
        ),
        Group("3", 2, (Member(Axis("3.weight", 0), "out", 8, ROWS),), apart=True),
    ),
    branches=(Group("1", 1, (Member(Axis("1.weight", 0), "out", 2, torch.tensor([[0, 1]])),)),),
    mixtures=(Group("2", 2, (Member(Axis("2.weight", 0), "out", 2),)),),
)


def groups(granularity):
    weights = dict(MODEL.named_parameters())
    return granularity.groups(weights, STRUCTURE if granularity.needs_coupling else Structure())


@pytest.mark.parametrize("granularity", ALL)
def test_names_are_distinct_and_members_lie_on_the_model(granularity):
    weights = dict(MODEL.named_parameters())
    found = groups(granularity)
    assert found
    assert len({g.name for g in found}) == len(found)
    for member in (m for g in found for m in g.members):
        tensor = weights[member.axis.tensor]
        dim = member.axis.dim
        assert member.size == (tensor.numel() if dim < 0 else tensor.shape[dim])


@pytest.mark.parametrize("granularity", ALL)
def test_no_weight_belongs_to_two_units_of_a_group(granularity):
    for group in groups(granularity):
        for member in group.parameters:
            if member.positions is not None:
                assert member.positions.unique().numel() == group.units * member.width


@pytest.mark.parametrize("granularity", ALL)
def test_is_deterministic(granularity):
    for one, two in zip(groups(granularity), groups(granularity), strict=True):
        assert (one.name, one.units) == (two.name, two.units)
        for a, b in zip(one.members, two.members, strict=True):
            assert a.axis == b.axis
            assert (a.positions is None) == (b.positions is None)
            assert a.positions is None or torch.equal(a.positions, b.positions)


@pytest.mark.parametrize("granularity", ALL)
def test_the_floor_is_a_number_of_units(granularity):
    for group in groups(granularity):
        assert (not granularity.whole_groups) <= granularity.floor(group) <= group.units
        if granularity.rules.round_to <= group.units:
            assert granularity.floor(group) % granularity.rules.round_to == 0


@pytest.mark.parametrize("granularity", ALL)
def test_what_is_protected_fits_the_floor(granularity):
    for group in groups(granularity):
        scores = torch.rand(group.units)
        before = scores.clone()
        stays = granularity.protected(group, scores)
        assert torch.equal(scores, before)
        assert stays is None or int(stays.sum()) == granularity.floor(group)


@pytest.mark.parametrize("granularity", ALL)
def test_is_a_value(granularity):
    assert pickle.loads(pickle.dumps(granularity)) == granularity == replace(granularity)


@pytest.mark.parametrize("option", ["reduce", "normalize"])
def test_unknown_words_are_refused(option):
    for make in (Channel, Expert, Head, partial(Block, 2, 2), UnitRules):
        with pytest.raises(ValueError, match=f"Expected `{option}` to be .*, but got 'median'"):
            make(**{option: "median"})


def test_the_base_is_abstract():
    with pytest.raises(TypeError, match="abstract"):
        Granularity()


def test_rules_by_default():
    assert UnitRules() == UnitRules("sum", "mean", 1, 1)
