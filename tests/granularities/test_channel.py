from lightning_prune.granularities import Channel
from lightning_prune.units import Axis, Group, Member


def test_channels_are_the_coupled_groups():
    group = Group("conv", 8, (Member(Axis("conv.weight", 0), "out", 8),))
    assert Channel().groups({}, (group,)) == [group]
