"""The contract that every allocation passes."""

import pickle

import pytest
import torch

from lightning_prune import allocations
from lightning_prune.allocations import Allocation

ALL = [
    pytest.param(getattr(allocations, name)(), id=name)
    for name in allocations.__all__
    if name != "Allocation"
]


def draw():
    generator = torch.Generator().manual_seed(3)
    return [torch.rand(n, generator=generator) * 10**i for i, n in enumerate([5, 1, 8])]


@pytest.mark.parametrize("allocation", ALL)
def test_keeps_shapes_and_the_order_within_a_group(allocation):
    scores = draw()
    priorities = allocation.priorities(scores)
    assert [p.shape for p in priorities] == [s.shape for s in scores]
    for p, s in zip(priorities, scores, strict=True):
        assert torch.equal(p.argsort(), s.argsort())
        assert p.is_floating_point()


@pytest.mark.parametrize("allocation", ALL)
def test_changes_no_input_and_is_deterministic(allocation):
    scores = draw()
    first = allocation.priorities(scores)
    assert all(torch.equal(a, b) for a, b in zip(scores, draw(), strict=True))
    assert all(torch.equal(a, b) for a, b in zip(first, allocation.priorities(scores), strict=True))


@pytest.mark.parametrize("allocation", ALL)
def test_dead_units_go_first(allocation):
    priorities = allocation.priorities([torch.tensor([3.0, -torch.inf, 1.0])])
    assert priorities[0].argmin() == 1


@pytest.mark.parametrize("allocation", ALL)
def test_is_a_value(allocation):
    assert pickle.loads(pickle.dumps(allocation)) == allocation


def test_the_base_is_abstract():
    with pytest.raises(TypeError, match="abstract"):
        Allocation()
