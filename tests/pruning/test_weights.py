import pytest
import torch
from torch import nn

from lightning_prune.errors import TargetError
from lightning_prune.pruning.weights import weights_of
from lightning_prune.units.group import Axis, Group, Member


def reading(*names):
    return Group("g", 2, tuple(Member(Axis(n, 0), "out", 2) for n in names))


def test_in_the_order_of_the_groups_and_once_each():
    model = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2))
    buffer = Member(Axis("1.running_mean", 0), "out", 2, buffer=True)
    groups = [reading("1.weight"), reading("0.weight", "1.weight"), Group("b", 2, (buffer,))]
    weights = weights_of(model, groups)
    assert list(weights) == ["1.weight", "0.weight"]
    assert weights["0.weight"] is model[0].weight


def test_several_devices_are_refused():
    model = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2, device="meta"))
    with pytest.raises(TargetError, match=r"on one device, but got \['cpu', 'meta'\]"):
        weights_of(model, [reading("0.weight", "1.weight")])


def test_layouts_that_are_mixed_are_refused():
    class Sharded(nn.Parameter):
        placements = "(Shard(dim=1),)"

    model = nn.Linear(2, 2)
    model.weight = Sharded(torch.ones(2, 2))
    with pytest.raises(TargetError, match=r"along their first dimension .* got .*dim=1"):
        weights_of(model, [reading("weight", "bias")])
