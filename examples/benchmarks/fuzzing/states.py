"""States: pieces that change with training, with other examples or with the values of the input."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Soft(nn.Module):
    """A softmax over all channels."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.dim = dim

    def forward(self, x: Tensor) -> Tensor:
        return x.softmax(self.dim) + 0.1 * x


class Unit(nn.Module):
    """Channels divided by their length."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.dim = dim

    def forward(self, x: Tensor) -> Tensor:
        return F.normalize(x, dim=self.dim)


class Threshold(nn.Module):
    """Zero wherever the input is large."""

    def __init__(self, dim: int, inner: nn.Module) -> None:
        super().__init__()
        self.dim, self.inner = dim, inner

    def forward(self, x: Tensor) -> Tensor:
        return self.inner(x) * (x.amax(self.dim, keepdim=True) < 8)


class Warm(nn.Module):
    """Another factor in train mode."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, x: Tensor) -> Tensor:
        x = self.inner(x)
        return x * 2 + 0.5 if self.training else x


class Centred(nn.Module):
    """Examples of a batch meet: their mean is taken away."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, x: Tensor) -> Tensor:
        x = self.inner(x)
        return x - 0.5 * x.mean(0, keepdim=True)


class InPlace(nn.Module):
    """A sum that is written into one of its sides."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, x: Tensor) -> Tensor:
        y = self.inner(x) * 1.0
        y += x
        return y.mul_(0.5)


class Average(nn.Module):
    """A norm with a moving average by hand, which training changes."""

    def __init__(self, dim: int, width: int) -> None:
        super().__init__()
        self.dim = dim
        self.scale = nn.Parameter(torch.ones(width))
        self.register_buffer("mean", torch.zeros(width))

    def forward(self, x: Tensor) -> Tensor:
        x = x.movedim(self.dim, -1)
        if self.training:
            now = x.detach().flatten(0, -2).mean(0)
            self.mean.mul_(0.9).add_(now, alpha=0.1)
        return ((x - self.mean) * self.scale).movedim(-1, self.dim)


class Largest(nn.Module):
    """Divided by the largest value that was ever seen in training."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("largest", torch.ones(()))

    def forward(self, x: Tensor) -> Tensor:
        if self.training:
            self.largest.copy_(torch.maximum(self.largest, x.detach().abs().max()))
        return x / self.largest


class Standardised(nn.Module):
    """A product with a weight whose rows are standardised first."""

    def __init__(self, dim: int, inputs: int, outputs: int) -> None:
        super().__init__()
        self.dim = dim
        self.weight = nn.Parameter(torch.randn(outputs, inputs))
        self.bias = nn.Parameter(torch.zeros(outputs))

    def forward(self, x: Tensor) -> Tensor:
        mean = self.weight.mean(1, keepdim=True)
        deviation = (self.weight - mean).square().mean(1, keepdim=True).sqrt()
        weight = (self.weight - mean) / (deviation + 1e-3)
        return F.linear(x.movedim(self.dim, -1), weight, self.bias).movedim(-1, self.dim)


class Pairs(nn.Module):
    """Products of what two layers write, by torch's sum of products."""

    def __init__(self, dim: int, width: int, rank: int) -> None:
        super().__init__()
        self.dim = dim
        self.left = nn.Parameter(torch.randn(rank, width))
        self.right = nn.Parameter(torch.randn(rank, width))
        self.out = nn.Parameter(torch.randn(width, rank))

    def forward(self, x: Tensor) -> Tensor:
        x = x.movedim(self.dim, -1)
        left = torch.einsum("...i,ri->...r", x, self.left)
        y = torch.einsum("...r,or->...o", left * F.softplus(x @ self.right.t()), self.out)
        return y.movedim(-1, self.dim)
