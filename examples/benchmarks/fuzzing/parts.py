"""Parts: pieces of nets that keep width and positions, built of pieces inside them.

All take ``x`` with channels in ``dim``. What they call is given to them, so that they nest.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class _Two(nn.Module):
    """Two pieces that read one stream."""

    def __init__(self, dim: int, first: nn.Module, second: nn.Module) -> None:
        super().__init__()
        self.dim, self.first, self.second = dim, first, second


class Sum(_Two):
    """Two writers of one stream."""

    def forward(self, x: Tensor) -> Tensor:
        return self.first(x) + self.second(x)


class Difference(_Two):
    """Two writers, one of them negated."""

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.first(x) - 0.5 * self.second(x))


class Product(_Two):
    """Each is zero where the other one is."""

    def forward(self, x: Tensor) -> Tensor:
        return self.first(x) * self.second(x)


class Gate(_Two):
    """A gate that is open by half at zero."""

    def forward(self, x: Tensor) -> Tensor:
        return self.first(x) * torch.sigmoid(self.second(x))


class Highway(_Two):
    """A gate between a stream and what changes it."""

    def forward(self, x: Tensor) -> Tensor:
        gate = torch.sigmoid(self.first(x))
        return gate * self.second(x) + (1 - gate) * x


class Maximum(_Two):
    """The larger of two."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.maximum(self.first(x), self.second(x))


class Select(_Two):
    """A choice by what one of them says."""

    def forward(self, x: Tensor) -> Tensor:
        first = self.first(x)
        return torch.where(first > 0.3, first, self.second(x))


class Quotient(_Two):
    """One divided by what the other one says."""

    def forward(self, x: Tensor) -> Tensor:
        return self.first(x) / (1 + self.second(x).abs())


class Crossed(_Two):
    """The sum of a stream and of the same in another order of channels."""

    def forward(self, x: Tensor) -> Tensor:
        return self.first(x) + self.second(x).flip(self.dim)


class Residual(nn.Module):
    """A shortcut around a branch."""

    def __init__(self, branch: nn.Module) -> None:
        super().__init__()
        self.branch = branch

    def forward(self, x: Tensor) -> Tensor:
        return x + self.branch(x)


class ScaledResidual(nn.Module):
    """A shortcut around a branch with a factor for each channel."""

    def __init__(self, branch: nn.Module, width: int, dim: int) -> None:
        super().__init__()
        self.branch, self.dim = branch, dim
        self.gamma = nn.Parameter(torch.ones(width))

    def forward(self, x: Tensor) -> Tensor:
        return x + (self.branch(x).movedim(self.dim, -1) * self.gamma).movedim(-1, self.dim)


class Loop(nn.Module):
    """Residual branches in a loop."""

    def __init__(self, branches: list[nn.Module]) -> None:
        super().__init__()
        self.branches = nn.ModuleList(branches)

    def forward(self, x: Tensor) -> Tensor:
        for branch in self.branches:
            x = x + branch(x)
        return x


class Joined(nn.Module):
    """Two streams beside each other, and a third one that reads both."""

    def __init__(self, dim: int, first: nn.Module, second: nn.Module, reader: nn.Module) -> None:
        super().__init__()
        self.dim, self.first, self.second, self.reader = dim, first, second, reader

    def forward(self, x: Tensor) -> Tensor:
        return self.reader(torch.cat([self.first(x), x, self.second(x)], self.dim))


class Halves(nn.Module):
    """A gated unit: one half of what one layer writes gates the other one."""

    def __init__(self, dim: int, both: nn.Module, reader: nn.Module, bounded: bool) -> None:
        super().__init__()
        self.dim, self.both, self.reader, self.bounded = dim, both, reader, bounded

    def forward(self, x: Tensor) -> Tensor:
        value, gate = self.both(x).chunk(2, self.dim)
        return self.reader(value * (torch.sigmoid(gate) if self.bounded else F.gelu(gate)))


class Squeeze(nn.Module):
    """Channels scaled by what their means say."""

    def __init__(self, dim: int, width: int) -> None:
        super().__init__()
        self.dim = dim
        self.down, self.up = nn.Linear(width, 4), nn.Linear(4, width)

    def forward(self, x: Tensor) -> Tensor:
        x = x.movedim(self.dim, -1)
        mean = x.flatten(1, -2).mean(1) if x.dim() > 2 else x
        scale = torch.sigmoid(self.up(F.relu(self.down(mean))))
        scale = scale.reshape(scale.shape[0], *[1] * (x.dim() - 2), -1)
        return (x * scale).movedim(-1, self.dim)


class Twice(nn.Module):
    """One layer that is called twice."""

    def __init__(self, layer: nn.Module, between: nn.Module) -> None:
        super().__init__()
        self.layer, self.between = layer, between

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(self.between(self.layer(x)))


class Transposed(nn.Module):
    """An autoencoder whose decoder is the encoder's weight, transposed."""

    def __init__(self, dim: int, width: int, hidden: int) -> None:
        super().__init__()
        self.dim = dim
        self.weight = nn.Parameter(torch.randn(hidden, width))
        self.bias = nn.Parameter(torch.zeros(hidden))

    def forward(self, x: Tensor) -> Tensor:
        code = torch.sigmoid(F.linear(x.movedim(self.dim, -1), self.weight, self.bias))
        return F.linear(code, self.weight.t()).movedim(-1, self.dim)


class Added(nn.Module):
    """A parameter added to every channel, and a buffer by which it is multiplied."""

    def __init__(self, dim: int, width: int) -> None:
        super().__init__()
        self.dim = dim
        self.offset = nn.Parameter(torch.zeros(width))
        self.register_buffer("factor", torch.ones(width))

    def forward(self, x: Tensor) -> Tensor:
        return ((x.movedim(self.dim, -1) + self.offset) * self.factor).movedim(-1, self.dim)


class Regrouped(nn.Module):
    """Channels in two parts, which are treated differently."""

    def __init__(self, dim: int, width: int, mix: nn.Module) -> None:
        super().__init__()
        self.dim, self.mix, self.sizes = dim, mix, [width - 2, 2]

    def forward(self, x: Tensor) -> Tensor:
        first, second = self.mix(x).split(self.sizes, self.dim)
        return torch.cat([torch.cos(second), torch.relu(first)], self.dim)


class Interleaved(nn.Module):
    """Every other channel is treated differently."""

    def __init__(self, dim: int, width: int, mix: nn.Module) -> None:
        super().__init__()
        self.dim, self.mix, self.width = dim, mix, width

    def forward(self, x: Tensor) -> Tensor:
        x = self.mix(x).movedim(self.dim, -1)
        pairs = x.reshape(*x.shape[:-1], self.width // 2, 2)
        return (
            torch.stack([pairs[..., 0].sigmoid(), pairs[..., 1]], -1)
            .flatten(-2)
            .movedim(-1, self.dim)
        )
