"""The contract that every allocation passes."""

import pickle
from dataclasses import replace

import pytest
import torch

from lightning_prune import allocations
from lightning_prune.allocations import Allocation, PerLayer
from lightning_prune.allocations.base import quantiles
from lightning_prune.units.group import Axis, Group, Member

EXAMPLES = {"PerLayer": PerLayer({"a": 0.5}, default=0.2)}
ALL = [
    pytest.param(EXAMPLES.get(name) or getattr(allocations, name)(), id=name)
    for name in allocations.__all__
    if name != "Allocation"
]
SIZES = {"a": 5, "b": 1, "c": 8}
GROUPS = [Group(n, k, (Member(Axis(f"{n}.weight", 0), "out", k),)) for n, k in SIZES.items()]
SHAPES = {f"{n}.weight": torch.Size([k, 3, 2, 2]) for n, k in SIZES.items()}


def draw():
    generator = torch.Generator().manual_seed(3)
    return [torch.rand(g.units, generator=generator) * 10**i for i, g in enumerate(GROUPS)]


def priorities(allocation, scores):
    return allocation.priorities(scores, GROUPS, SHAPES)


@pytest.mark.parametrize("allocation", ALL)
def test_keeps_shapes_and_the_order_within_a_group(allocation):
    scores = draw()
    found = priorities(allocation, scores)
    assert [p.shape for p in found] == [s.shape for s in scores]
    for p, s in zip(found, scores, strict=True):
        assert torch.equal(p.argsort(), s.argsort())
        assert p.is_floating_point()
        assert not p.isnan().any()


@pytest.mark.parametrize("allocation", ALL)
def test_changes_no_input_and_is_deterministic(allocation):
    scores = draw()
    first, second = priorities(allocation, scores), priorities(allocation, scores)
    assert all(torch.equal(a, b) for a, b in zip(scores, draw(), strict=True))
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))


@pytest.mark.parametrize("allocation", ALL)
def test_dead_units_go_first(allocation):
    scores = draw()
    for group in (0, 2):
        scores[group][3] = -torch.inf
        assert priorities(allocation, scores)[group].argmin() == 3


@pytest.mark.parametrize("value", [0.0, 1e30])
@pytest.mark.parametrize("allocation", ALL)
def test_equal_and_huge_scores_give_no_nan(allocation, value):
    found = priorities(allocation, [torch.full((g.units,), value) for g in GROUPS])
    assert not any(p.isnan().any() for p in found)


@pytest.mark.parametrize("allocation", ALL)
def test_is_a_value(allocation):
    assert pickle.loads(pickle.dumps(allocation)) == allocation == replace(allocation)


@pytest.mark.parametrize("allocation", ALL)
@pytest.mark.parametrize("bound", [0.0, -0.5, 1.1])
def test_a_bound_out_of_range_is_refused(allocation, bound):
    with pytest.raises(ValueError, match=r"Expected `max_sparsity` to be a fraction in \(0, 1\]"):
        replace(allocation, max_sparsity=bound)


def test_quantiles():
    assert quantiles(torch.tensor([30.0, 10.0, 20.0, 40.0])).tolist() == [
        2.5 / 4,
        0.5 / 4,
        1.5 / 4,
        3.5 / 4,
    ]


def test_ties_are_ranked_by_index():
    assert quantiles(torch.ones(4)).tolist() == [0.125, 0.375, 0.625, 0.875]


def test_the_base_is_abstract():
    with pytest.raises(TypeError, match="abstract"):
        Allocation()
