"""Pieces with values that no weight writes, and with norms and maxima that are written out."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class Offsets(nn.Module):
    """Offsets of every channel that are not trained: held, or computed in each pass."""

    def __init__(self, dim: int, width: int, kind: str) -> None:
        super().__init__()
        self.dim, self.kind, self.width = dim, kind, width
        values = torch.linspace(-1.0, 1.5, width)
        if kind == "frozen":
            self.values = nn.Parameter(values, requires_grad=False)
        elif kind != "computed":
            self.register_buffer("values", values, persistent=kind != "not saved")

    def forward(self, x: Tensor) -> Tensor:
        x = x.movedim(self.dim, -1)
        computed = self.kind == "computed"
        values = torch.linspace(-1.0, 1.5, self.width).to(x) if computed else self.values
        if self.kind == "scaled":
            values = values * 0.5
        if self.kind == "divisor":
            return (x / (values + 2.0) + values).movedim(-1, self.dim)
        if self.kind == "factor":
            return (x * values + values).movedim(-1, self.dim)
        if self.kind == "cosine":
            return (x + values.cos()).movedim(-1, self.dim)
        return (x + values).movedim(-1, self.dim)


class Beside(nn.Module):
    """The input of the piece is combined with what weights make of it."""

    def __init__(self, inner: nn.Module, kind: str) -> None:
        super().__init__()
        self.inner, self.kind = inner, kind

    def forward(self, x: Tensor) -> Tensor:
        y = self.inner(x)
        if self.kind == "product":
            return y * torch.cos(x.detach())
        if self.kind == "where":
            return torch.where(x > 0, y, x)
        if self.kind == "in place":
            y = y * 1
            y += x
            return y
        return torch.maximum(y, x)


class WrittenNorm(nn.Module):
    """A norm over channels, written out."""

    def __init__(self, dim: int, width: int, kind: str) -> None:
        super().__init__()
        self.dim, self.kind = dim, kind
        self.weight, self.bias = nn.Parameter(torch.ones(width)), nn.Parameter(torch.zeros(width))

    def forward(self, x: Tensor) -> Tensor:
        x = x.movedim(self.dim, -1)
        mean = x.mean(-1, keepdim=True)
        centred = x - mean
        if self.kind == "pow":
            variance = centred.pow(2).mean(-1, keepdim=True)
        elif self.kind == "var":
            variance = x.var(-1, keepdim=True, unbiased=False)
        elif self.kind == "twice":
            variance = (x - x.mean(-1, keepdim=True)) ** 2
            variance = torch.mean(variance, -1, keepdim=True)
        else:
            variance = torch.var_mean(x, dim=-1, keepdim=True)[0]
        y = centred * torch.rsqrt(variance + 1e-2) * self.weight + self.bias
        return y.movedim(-1, self.dim)


class Extremes(nn.Module):
    """A gate from statistics over channels."""

    def __init__(self, dim: int, kind: str) -> None:
        super().__init__()
        self.dim, self.kind = dim, kind

    def forward(self, x: Tensor) -> Tensor:
        if self.kind == "maximum":
            found = torch.max(x, dim=self.dim, keepdim=True)[0]
        elif self.kind == "minimum":
            found = x.amin(self.dim, keepdim=True)
        elif self.kind == "deviation":
            found = torch.std(x, self.dim, keepdim=True)
        else:
            found = torch.logsumexp(x, self.dim, keepdim=True)
        return x * torch.sigmoid(found)
