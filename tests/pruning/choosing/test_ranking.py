import pytest
import torch

from lightning_prune.allocations import Global, Uniform
from lightning_prune.granularities import NM, Channel, Weight
from lightning_prune.pruning.choosing.ranking import (
    floors,
    is_additive,
    per_cost,
    removal_priorities,
)
from lightning_prune.units.cost import element_cost
from lightning_prune.units.group import Axis, Group, Member


def group(name, units, dim=0):
    return Group(name, units, (Member(Axis(f"{name}.weight", dim), "out", units),))


def test_dead_units_go_first_and_count_as_zero_in_the_average():
    scores = [torch.tensor([9.0, 1.0, 5.0])]  # (0 + 1 + 5) / 3 = 2
    dead = [torch.tensor([True, False, False])]
    (found,) = removal_priorities([group("a", 3)], scores, dead, {}, Channel(), Global())
    assert found.tolist() == [-torch.inf, 0.5, 2.5]


def test_units_that_must_stay_do_unless_they_are_dead():
    scores = [torch.tensor([1.0, 2.0, 3.0, 4.0])]
    dead = [torch.tensor([False, True, True, True])]
    alive = [torch.zeros(4).bool()]
    (found,) = removal_priorities([group("a", 4, -1)], scores, alive, {}, NM(2, 4), Global())
    assert found.tolist() == [1.0, 2.0, torch.inf, torch.inf]
    (found,) = removal_priorities([group("a", 4, -1)], scores, dead, {}, NM(2, 4), Global())
    assert found.tolist() == [torch.inf, -torch.inf, -torch.inf, -torch.inf]


@pytest.mark.parametrize(
    ("granularity", "allocation", "expected"),
    [
        (Weight(), Global(), [1, 1]),
        (Weight(), Uniform(max_sparsity=0.75), [5, 2]),
        (Channel(round_to=8), Global(), [8, 5]),
        (Channel(round_to=4), Uniform(max_sparsity=0.7), [8, 4]),
        (Channel(min_units=3), Uniform(max_sparsity=0.9), [3, 3]),
    ],
)
def test_floors(granularity, allocation, expected):
    assert floors([group("a", 20), group("b", 5)], granularity, allocation) == expected


def test_of_units_that_matter_alike_the_dearer_goes_first():
    groups = [group("a", 2), group("b", 2), group("c", 2)]
    shapes = {"a.weight": torch.Size([2, 4]), "b.weight": torch.Size([2, 2])}
    cost = element_cost(groups[:2], shapes)
    dear, cheap = per_cost([torch.tensor([1.0, torch.inf]), torch.tensor([1.0, -torch.inf])], cost)
    assert dear.tolist() == [1.0, torch.inf]
    assert cheap.tolist() == [2.0, -torch.inf]


def test_what_costs_nothing_stays_longest():
    groups = [group("a", 2), group("b", 2)]
    shapes = dict.fromkeys(("a.weight", "b.weight"), torch.Size([2, 4]))
    cost = element_cost(groups, shapes, {"a.weight": 1.0})
    assert per_cost([torch.ones(2), torch.ones(2)], cost)[1].tolist() == pytest.approx([1e6, 1e6])
    nothing = element_cost(groups, shapes, {})
    assert per_cost([torch.ones(2), torch.ones(2)], nothing)[1].tolist() == [1.0, 1.0]


@pytest.mark.parametrize(
    ("granularity", "allocation", "additive"),
    [
        (Channel(normalize="none"), Global(), True),
        (Channel(), Global(), False),
        (Channel(normalize="none"), Uniform(), False),
    ],
)
def test_scores_add_up_only_as_they_are(granularity, allocation, additive):
    assert is_additive(granularity, allocation) == additive
