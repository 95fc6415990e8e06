"""A classifier of clouds of points."""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn


def points_mlp(*widths: int) -> nn.Sequential:
    """Linear maps of every point alone, with batch norm and ReLU."""
    layers: list[nn.Module] = []
    for read, written in pairwise(widths):
        layers += [nn.Conv1d(read, written, 1), nn.BatchNorm1d(written), nn.ReLU()]
    return nn.Sequential(*layers)


class TNet(nn.Module):
    """Find a matrix for a cloud, near the identity, and apply it to every point."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.size = size
        self.points = points_mlp(size, 16, 32)
        self.matrix = nn.Sequential(nn.Linear(32, 16), nn.ReLU(), nn.Linear(16, size * size))

    def forward(self, x: Tensor) -> Tensor:
        """Map ``[batch, size, points]`` to the same shape."""
        matrix = self.matrix(self.points(x).amax(2)).view(-1, self.size, self.size)
        matrix = matrix + torch.eye(self.size, device=x.device, dtype=x.dtype)
        return (x.transpose(1, 2) @ matrix).transpose(1, 2)


class PointNet(nn.Module):
    """Qi et al., 2016, "PointNet", arXiv:1612.00593: classify a cloud of points."""

    def __init__(self, classes: int = 10) -> None:
        super().__init__()
        self.turn = TNet(3)
        self.near = points_mlp(3, 16)
        self.turn_features = TNet(16)
        self.far = points_mlp(16, 32, 64)
        self.head = nn.Sequential(nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, classes))

    def forward(self, points: Tensor) -> Tensor:
        """Map ``[batch, 3, points]`` to logits."""
        features = self.turn_features(self.near(self.turn(points)))
        return self.head(self.far(features).amax(2))
