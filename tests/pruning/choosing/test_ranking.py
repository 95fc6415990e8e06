import pytest
import torch

from lightning_prune.allocations import Global, Uniform
from lightning_prune.granularities import NM, Channel, Weight
from lightning_prune.pruning.choosing.ranking import floors, removal_priorities
from lightning_prune.units.group import Axis, Group, Member


def group(name, units, dim=0):
    return Group(name, units, (Member(Axis(f"{name}.weight", dim), "out", units),))


def test_dead_units_go_first_and_do_not_count_in_the_average():
    scores = [torch.tensor([9.0, 1.0, 3.0])]
    dead = [torch.tensor([True, False, False])]
    (found,) = removal_priorities([group("a", 3)], scores, dead, {}, Channel(), Global())
    assert found.tolist() == [-torch.inf, 0.5, 1.5]


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
