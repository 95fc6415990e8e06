import pytest
import torch

from lightning_prune.allocations import PerLayer
from lightning_prune.pruning.choosing.choice import choose
from lightning_prune.units.cost import unit_cost
from lightning_prune.units.group import Axis, Group, Member

GROUPS = [
    Group(n, 100, (Member(Axis(f"{n}.weight", 0), "out", 100),))
    for n in ("layer1.conv", "layer2.conv", "layer2.down", "head")
]


def removed(allocation, sparsity):
    scores = [torch.rand(100) for _ in GROUPS]
    kept = choose(
        allocation.priorities(scores, GROUPS, {}), unit_cost(GROUPS), sparsity, [1] * len(GROUPS)
    )
    return [int((~k).sum()) for k in kept]


def test_layers_get_their_own_where_that_is_the_total():
    allocation = PerLayer({"layer1": 0.2, "layer2.*": 0.7}, default=0.4)
    assert removed(allocation, (0.2 + 0.7 + 0.7 + 0.4) / 4) == [20, 70, 70, 40]


def test_less_keeps_the_proportions():
    allocation = PerLayer({"layer1.conv": 0.75, "layer2.*": 0.5})
    power = 0.5  # densities 1/4 and 1/2 become their roots
    expected = [100 * (1 - 0.25**power), 100 * (1 - 0.5**power), 100 * (1 - 0.5**power), 0]
    assert removed(allocation, sum(expected) / 400) == pytest.approx(expected, abs=1)


def test_the_first_pattern_counts():
    assert removed(PerLayer({"layer2.down": 0.5, "layer2": 0.1}), 0.15) == [0, 10, 50, 0]


def test_a_pattern_counts_for_all_that_are_pruned_together():
    members = [Member(Axis(f"{name}.weight", 0), "out", 100) for name in ("first", "second")]
    scores = [torch.rand(100)]
    together = Group("first", 100, tuple(members))
    for name in ("first", "second"):
        (found,) = PerLayer({name: 0.5}).priorities(scores, [together], {})
        assert found.isfinite().all()


def test_a_pattern_that_matches_nothing_is_refused():
    with pytest.raises(ValueError, match=r"got 'layer3', which matches none of layer1\.conv"):
        PerLayer({"layer3": 0.5}).check(GROUPS)
    PerLayer({"layer2": 0.5}).check(GROUPS)


def test_zero_everywhere_is_refused():
    with pytest.raises(ValueError, match=r"got \{'layer1\.conv': 0\.0\} and 0\.0 for layer1\.conv"):
        PerLayer({"layer1.conv": 0.0}).check(GROUPS)


@pytest.mark.parametrize("sparsity", [1.0, -0.1])
def test_a_sparsity_out_of_range_is_refused(sparsity):
    with pytest.raises(ValueError, match=r"Expected `sparsities\['a'\]` to be a fraction"):
        PerLayer({"a": sparsity})
    with pytest.raises(ValueError, match="Expected `default` to be a fraction"):
        PerLayer(default=sparsity)
