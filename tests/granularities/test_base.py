"""The contract that every granularity passes."""

import pickle

import pytest
from torch import nn

from lightning_prune import granularities
from lightning_prune.granularities import Granularity
from lightning_prune.units import Axis, Group, Member

ALL = [
    pytest.param(getattr(granularities, name)(), id=name)
    for name in granularities.__all__
    if name != "Granularity"
]
MODEL = nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 2))
COUPLED = [
    Group("0", 4, (Member(Axis("0.weight", 0), "out", 4), Member(Axis("1.weight", 1), "in", 4)))
]


@pytest.mark.parametrize("granularity", ALL)
def test_names_are_distinct_and_members_lie_on_the_model(granularity):
    weights = dict(MODEL.named_parameters())
    groups = granularity.groups(weights, COUPLED if granularity.needs_coupling else [])
    assert groups
    assert len({g.name for g in groups}) == len(groups)
    for member in (m for g in groups for m in g.members):
        tensor = weights[member.axis.tensor]
        dim = member.axis.dim
        assert member.size == (tensor.numel() if dim < 0 else tensor.shape[dim])


@pytest.mark.parametrize("granularity", ALL)
def test_is_a_value(granularity):
    assert pickle.loads(pickle.dumps(granularity)) == granularity


def test_the_base_is_abstract():
    with pytest.raises(TypeError, match="abstract"):
        Granularity()
