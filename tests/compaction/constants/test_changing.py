import pytest
import torch
from torch import nn

from lightning_prune.compaction.constants.changing import find_changing
from lightning_prune.coupling import couple


class Counting(nn.Module):
    """Counts its calls in a buffer, in some way."""

    def __init__(self, way):
        super().__init__()
        self.layer, self.way = nn.Linear(3, 4), way
        self.register_buffer("calls", torch.zeros(1))
        self.register_buffer("other", torch.ones(1))

    def forward(self, x):
        self.way(self)
        return self.layer(x) + self.calls + self.other


def in_place(module):
    module.calls.add_(1)


def anew(module):
    module.calls = module.calls + 1


def through_data(module):
    module.calls.data.mul_(2).add_(1)


def in_training(module):
    if module.training:
        in_place(module)


@pytest.mark.parametrize("way", [in_place, anew, through_data, in_training])
def test_a_buffer_that_a_pass_changes(way):
    model = Counting(way)
    traces = couple(model, torch.randn(2, 3)).traces.traces
    before = model.calls.clone()
    assert find_changing(model, traces) == {"calls"}
    assert torch.equal(model.calls, before)


def test_the_statistics_of_batch_norms_change():
    model = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 2))
    traces = couple(model, torch.randn(2, 3)).traces.traces
    assert find_changing(model, traces) == {"1.running_mean", "1.running_var"}
