import itertools

import pytest
import torch

from lightning_prune.errors import TargetError
from lightning_prune.units.cost import (
    check_reachable,
    cost_of,
    element_cost,
    unit_cost,
    units_to_remove,
)
from lightning_prune.units.group import Axis, Group, Member
from lightning_prune.units.masks import keep_highest, parameter_masks, protect_best


def whole_masks(groups, kept, shapes, device):
    return {n: m.whole() for n, m in parameter_masks(groups, kept, shapes, device).items()}


def member(tensor, dim, size, side="out", positions=None):
    positions = None if positions is None else torch.tensor(positions)
    return Member(Axis(tensor, dim), side, size, positions)


# a.weight [3, 2] -> b.weight [4, 3 * 2] -> c.weight [2, 4], and a square r.weight [4, 4].
GROUPS = [
    Group(
        "a",
        3,
        (
            member("a.weight", 0, 3),
            member("b.weight", 1, 6, "in", [[0, 3], [1, 4], [2, 5]]),
        ),
    ),
    Group(
        "b",
        4,
        (
            member("b.weight", 0, 4),
            member("r.weight", 0, 4),
            member("r.weight", 1, 4, "in"),
            member("c.weight", 1, 4, "in"),
        ),
    ),
]
SHAPES = {
    "a.weight": torch.Size([3, 2]),
    "b.weight": torch.Size([4, 6]),
    "c.weight": torch.Size([2, 4]),
    "r.weight": torch.Size([4, 4]),
}
PRICES = {"a.weight": 100.0, "b.weight": 10.0, "c.weight": 1.0}
FLAT = [
    Group(n, s.numel(), (member(n, -1, s.numel()),)) for n, s in SHAPES.items() if n != "r.weight"
]


def brute_force(groups, kept, prices):
    """Count masked elements one by one."""
    masks = whole_masks(groups, kept, SHAPES, torch.device("cpu"))
    return sum((~m).sum().item() * prices.get(n, 0.0) for n, m in masks.items())


@pytest.mark.parametrize("prices", [None, PRICES], ids=["parameters", "macs"])
@pytest.mark.parametrize("groups", [GROUPS, FLAT], ids=["channels", "weights"])
def test_removed_equals_counting_elements(groups, prices):
    cost = element_cost(groups, SHAPES, prices)
    priced = dict.fromkeys(SHAPES, 1.0) if prices is None else prices
    sizes = [range(0, g.units + 1, 2) for g in groups]
    for counts in itertools.product(*sizes):
        kept = [torch.arange(g.units) >= n for g, n in zip(groups, counts, strict=True)]
        assert cost.removed(counts) == brute_force(groups, kept, priced)
    assert cost.prunable == cost.removed([g.units for g in groups])


def test_overlapping_axes_are_a_product():
    # One unit of each group leaves b.weight with 3 of 4 rows and 4 of 6 columns.
    cost = element_cost(GROUPS, {**SHAPES}, {"b.weight": 1.0})
    assert cost.removed([1, 1]) == 4 * 6 - 3 * 4


def test_units_count_one_each():
    cost = unit_cost(GROUPS)
    assert cost.prunable == 3 + 4
    assert cost.removed([2, 1]) == 3
    assert cost.unit_price == 1.0


def test_the_unit_price_exists_only_where_units_are_alike():
    assert element_cost(FLAT, SHAPES).unit_price == 1.0
    assert element_cost(FLAT, SHAPES, PRICES).unit_price is None
    assert element_cost(GROUPS, SHAPES).unit_price is None


@pytest.mark.parametrize("sparsity", [0.0, 0.1, 0.3, 0.5, 0.6])
@pytest.mark.parametrize(
    "cost",
    [
        pytest.param(element_cost(GROUPS, SHAPES), id="parameters"),
        pytest.param(element_cost(GROUPS, SHAPES, PRICES), id="macs"),
        pytest.param(unit_cost(GROUPS), id="units"),
    ],
)
def test_the_count_comes_closest(cost, sparsity):
    priorities = protect_best([torch.tensor([3.0, 1.0, 5.0]), torch.tensor([2.0, 4.0, 0.0, 6.0])])

    def miss(k):
        kept = keep_highest(priorities, k)
        return abs(cost.removed([int((~mask).sum()) for mask in kept]) - sparsity * cost.prunable)

    best = min(range(6), key=lambda k: (miss(k), k))
    assert units_to_remove(cost, priorities, sparsity) == best


@pytest.mark.parametrize(("sparsity", "remove"), [(0.0, 0), (0.5, 19), (0.51, 19), (0.9, 34)])
def test_single_weights_are_counted_by_arithmetic(sparsity, remove):
    priorities = protect_best([torch.rand(g.units) for g in FLAT])  # 6 + 24 + 8 = 38
    assert units_to_remove(element_cost(FLAT, SHAPES), priorities, sparsity) == remove


def test_of_two_equally_close_counts_the_lower():
    cost = unit_cost([Group("a", 5, ())])
    assert units_to_remove(cost, [torch.arange(5.0)], 0.5) == 2


def test_dead_units_always_go():
    dead = [torch.tensor([-torch.inf, -torch.inf, 1.0]), torch.tensor([0.0, 1.0, 2.0, torch.inf])]
    for cost in (unit_cost(GROUPS), element_cost(GROUPS, SHAPES)):
        assert units_to_remove(cost, dead, 0.1) == 2


def test_out_of_reach_names_the_maximum():
    priorities = protect_best([torch.arange(3.0), torch.arange(4.0)])
    with pytest.raises(TargetError, match=r"Expected `sparsity` to be at most 0\.7142.*got 0\.9"):
        units_to_remove(unit_cost(GROUPS), priorities, 0.9)
    with pytest.raises(TargetError, match=r"at most 0\.7142.*got 0\.72"):
        units_to_remove(unit_cost(GROUPS), priorities, 0.72)
    assert units_to_remove(unit_cost(GROUPS), priorities, 5 / 7) == 5


def test_nothing_of_any_cost_is_refused():
    with pytest.raises(TargetError, match="to cost something"):
        units_to_remove(element_cost(GROUPS, SHAPES, {}), [torch.ones(3), torch.ones(4)], 0.5)


def test_cost_of_names():
    assert cost_of("units", GROUPS, SHAPES, None).prunable == 7
    assert cost_of("parameters", GROUPS, SHAPES, PRICES).prunable == 6 + 24 + 8 + 16
    assert cost_of("macs", GROUPS, SHAPES, PRICES).prunable == 600 + 240 + 8
    with pytest.raises(ValueError, match="Expected `prices`"):
        cost_of("macs", GROUPS, SHAPES, None)


@pytest.mark.parametrize(
    "cost", [unit_cost(GROUPS), element_cost(GROUPS, SHAPES)], ids=["units", "parameters"]
)
def test_a_target_just_out_of_reach_is_refused(cost):
    most = cost.removed([2, 3])
    check_reachable(cost, most / cost.prunable, most)
    with pytest.raises(TargetError, match="Expected `sparsity` to be at most"):
        check_reachable(cost, (most + 0.04) / cost.prunable, most)
