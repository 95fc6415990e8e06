import pytest
import torch

from lightning_prune.errors import TargetError
from lightning_prune.pruning.choosing.choice import choose
from lightning_prune.units.cost import element_cost, unit_cost
from lightning_prune.units.group import Axis, Group, Member


def groups(*sizes):
    return [
        Group(str(i), n, (Member(Axis(f"{i}.weight", 0), "out", n),)) for i, n in enumerate(sizes)
    ]


def counts(kept):
    return [int(k.sum()) for k in kept]


def test_the_lowest_go():
    priorities = [torch.tensor([3.0, 1.0, 2.0]), torch.tensor([0.0, 5.0])]
    kept = choose(priorities, unit_cost(groups(3, 2)), 0.4, [1, 1])
    assert [k.tolist() for k in kept] == [[True, False, True], [False, True]]


def test_floors_hold():
    priorities = [torch.arange(8.0), 10 + torch.arange(8.0)]
    assert counts(choose(priorities, unit_cost(groups(8, 8)), 0.5, [6, 1])) == [6, 2]


@pytest.mark.parametrize("round_to", [2, 4, 8])
@pytest.mark.parametrize("sparsity", [0.1, 0.3, 0.5, 0.6])
def test_kept_counts_are_multiples_or_all(round_to, sparsity):
    sizes = (30, 16, 5, 24)
    some = groups(*sizes)
    shapes = {f"{i}.weight": torch.Size([n, 3 + i]) for i, n in enumerate(sizes)}
    floors = [round_to if n >= round_to else n for n in sizes]
    cost = element_cost(some, shapes)
    priorities = [torch.rand(n) for n in sizes]
    kept = choose(priorities, cost, sparsity, floors, [round_to] * len(floors))
    assert all(c % round_to == 0 or c == n for c, n in zip(counts(kept), sizes, strict=True))
    # What stays of a group is what has the highest priority.
    for p, k in zip(priorities, kept, strict=True):
        assert k.all() or p[k].min() > p[~k].max()
    # The dearest bundle has round_to units of 3 + 3 elements.
    reached = cost.removed([n - c for n, c in zip(sizes, counts(kept), strict=True)])
    assert abs(reached - sparsity * cost.prunable) <= round_to * 6 / 2


def test_bundles_with_dead_units_go_first():
    priority = torch.tensor([5.0, -torch.inf, 1.0, -torch.inf, 9.0, 8.0, 7.0, 6.0])
    (kept,) = choose([priority], unit_cost(groups(8)), 0.25, [2], [2])
    assert kept.tolist() == [True, False, True, False, True, True, True, True]


def test_out_of_reach_of_the_floors():
    with pytest.raises(TargetError, match=r"at most 0\.2500"):
        choose([torch.arange(8.0)], unit_cost(groups(8)), 0.5, [6])
    with pytest.raises(TargetError, match=r"at most 0\.5000"):
        choose([torch.arange(8.0)], unit_cost(groups(8)), 0.6, [4], [4])
