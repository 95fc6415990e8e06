"""Convolutions that modules call by themselves get the number of groups that is left."""

from __future__ import annotations

import copy

import pytest
import torch
import torch.nn.functional as F
from support.oracle import assert_equal, halved
from torch import Tensor, nn

from lightning_prune.compaction import compact


class Filter(nn.Module):
    """Convolves channels, each by itself or in groups, as many as an attribute says."""

    def __init__(self, weight: Tensor, call: str) -> None:
        super().__init__()
        self.register_buffer("blur", weight)
        self.channels, self.call = 16, call

    def forward(self, x: Tensor) -> Tensor:
        channels = self.channels
        if self.call == "plain":
            return F.conv2d(x, self.blur, stride=2, groups=channels)
        if self.call == "by place":
            return F.conv2d(x, self.blur, None, 1, 1, 1, self.channels)
        if self.call == "transposed":
            return F.conv_transpose2d(x, self.blur, stride=2, groups=self.channels)
        if self.call == "several for each":
            return F.conv2d(x, self.blur, groups=channels).unflatten(1, (-1, 2)).sum(2)
        return F.conv1d(x.flatten(2), self.blur.flatten(2), groups=channels).unsqueeze(-1)


@pytest.mark.parametrize("call", ["plain", "by place", "transposed", "several for each", "one"])
def test_each_channel_by_itself(call: str) -> None:
    blur = torch.rand(32 if call == "several for each" else 16, 1, 3, 3)
    model = nn.Sequential(
        nn.Conv2d(3, 16, 3),
        nn.ReLU(),
        Filter(blur, call),
        nn.Conv2d(16, 4, 1),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
    )
    x = torch.randn(2, 3, 12, 12)
    model = halved(model, (x,)).eval()
    masked = copy.deepcopy(model)
    assert compact(model, x, latency=False).refused == {}
    assert model[0].out_channels == 8
    assert_equal(masked, model, (x,))
    other = torch.randn(3, 3, 17, 15)
    torch.testing.assert_close(model(other), masked(other))
