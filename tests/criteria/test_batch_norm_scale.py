import pytest
import torch
from torch import nn

from lightning_prune.criteria import BatchNormScale
from lightning_prune.errors import TargetError
from lightning_prune.pruning import prune


class Two(nn.Module):
    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(3, 6, 3), nn.BatchNorm2d(6), nn.ReLU(), nn.Conv2d(6, 4, 3), nn.ReLU()
        )
        self.head = nn.Linear(4, 2)

    def forward(self, x):
        return self.head(self.body(x).mean((2, 3)))


def test_channels_of_the_smallest_scales_go():
    model = Two()
    with torch.no_grad():
        model.body[1].weight.copy_(torch.tensor([0.3, -0.9, 0.1, 0.5, -0.05, 0.7]))
    x = torch.randn(1, 3, 8, 8)
    prune(model, x, sparsity=0.5, criterion=BatchNormScale(), of="units", include=["body.0"])
    assert torch.nonzero(model.body[1].weight == 0).flatten().tolist() == [0, 2, 4]


def test_a_group_without_a_norm_is_refused_by_name():
    with pytest.raises(TargetError, match=r"no score of body\.3"):
        prune(Two(), torch.randn(1, 3, 8, 8), sparsity=0.5, criterion=BatchNormScale())
