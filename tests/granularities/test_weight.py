import torch
from torch import nn

from lightning_prune.granularities import Weight
from lightning_prune.units.group import Axis, Structure


def test_every_matrix_and_kernel_but_no_vector():
    model = nn.Sequential(nn.Conv2d(2, 3, 1), nn.BatchNorm2d(3), nn.Linear(3, 4))
    groups = Weight().groups(dict(model.named_parameters()), Structure())
    assert [(g.name, g.units) for g in groups] == [("0.weight", 2 * 3), ("2.weight", 3 * 4)]
    assert groups[0].members[0].axis == Axis("0.weight", -1)
    assert groups[1].writers == ("2",)


def test_only_floating_weights():
    assert Weight().groups({"table": torch.ones(2, 2, dtype=torch.int64)}, Structure()) == []
