"""Layers: what mixes, normalises and activates in each layout of a tensor's dimensions."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from fuzzing.dice import CHANNELS, Dice, Draw
from torch import Tensor, nn


class Cosine(nn.Module):
    """1 at 0."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.cos(x)


class Bell(nn.Module):
    """1 at 0, and 0 far away."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.exp(-x.square())


class Shifted(nn.Module):
    """Zero on what is usual, not on all."""

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(x - 6)


class Clamped(nn.Module):
    """Constant on what is large."""

    def forward(self, x: Tensor) -> Tensor:
        return (x + 4).clamp(0, 1)


class OverChannelsLast(nn.Module):
    """Apply a norm to the last dimension where channels come second."""

    def __init__(self, norm: nn.Module) -> None:
        super().__init__()
        self.norm = norm

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(x.movedim(1, -1)).movedim(-1, 1)


class OverChannelsSecond(nn.Module):
    """Apply a norm to the second dimension where channels come last."""

    def __init__(self, norm: nn.Module) -> None:
        super().__init__()
        self.norm = norm

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(x.transpose(1, 2)).transpose(1, 2)


class OwnLayerNorm(nn.Module):
    """A layer norm by hand."""

    def __init__(self, width: int, dim: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))
        self.bias = nn.Parameter(torch.zeros(width))
        self.dim = dim

    def forward(self, x: Tensor) -> Tensor:
        x = x.movedim(self.dim, -1)
        mean = x.mean(-1, keepdim=True)
        variance = (x - mean).square().mean(-1, keepdim=True)
        y = (x - mean) / torch.sqrt(variance + 1e-5)
        return (y * self.weight + self.bias).movedim(-1, self.dim)


class OwnRMSNorm(nn.Module):
    """A root-mean-square norm by hand."""

    def __init__(self, width: int, dim: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))
        self.dim = dim

    def forward(self, x: Tensor) -> Tensor:
        x = x.movedim(self.dim, -1)
        y = self.weight * (x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + 1e-6))
        return y.movedim(-1, self.dim)


def activation(dice: Dice) -> nn.Module:
    """Return an activation; half of them are not 0 at 0."""
    if dice.chance(0.06):
        return nn.ReLU(inplace=True)
    if dice.chance(0.5):
        return dice.choose(nn.ReLU, nn.ReLU, nn.Tanh, nn.GELU, nn.SiLU, nn.LeakyReLU, nn.Identity)()
    kinds = (nn.Sigmoid, nn.Softplus, Cosine, Bell, Shifted, Clamped, nn.ReLU6, nn.Hardsigmoid)
    return dice.choose(*kinds, nn.ELU, nn.Hardswish, nn.Softsign, nn.LogSigmoid)()


@dataclass(frozen=True)
class Layout:
    """Where the channels of a tensor lie.

    Args:
        name: ``"vectors"``, ``"sequences"`` (channels last), ``"signals"`` or ``"images"``.
    """

    name: str

    @property
    def spatial(self) -> int:
        """How many dimensions follow the channels."""
        return {"vectors": 0, "sequences": 0, "signals": 1, "images": 2}[self.name]

    @property
    def dim(self) -> int:
        """Dimension of the channels."""
        return 1 if self.spatial else -1

    def shape(self, batch: int, width: int, size: int) -> tuple[int, ...]:
        """Return the shape of a tensor."""
        if self.name == "sequences":
            return (batch, size, width)
        return (batch, width, *[size] * self.spatial)

    def inputs(self, draw: Draw) -> tuple[Tensor]:
        """Return the positional arguments of a net that takes such a tensor."""
        return (draw.values(*self.shape(draw.batch, CHANNELS, draw.size)),)

    def mix(self, dice: Dice, inputs: int, outputs: int) -> nn.Module:
        """Return a layer from ``inputs`` to ``outputs`` channels that keeps positions."""
        bias = dice.chance(0.8)
        if not self.spatial:
            return nn.Linear(inputs, outputs, bias=bias)
        kind = nn.Conv1d if self.spatial == 1 else nn.Conv2d
        size = dice.choose(1, 3)
        modes = ("zeros", "zeros", "zeros", "circular", "replicate")
        groups = dice.choose(1, 1, 1, *common_divisors(inputs, outputs))
        return kind(
            inputs,
            outputs,
            size,
            padding=size // 2,
            bias=bias,
            groups=groups,
            padding_mode=dice.choose(*modes),
        )

    def norm(self, dice: Dice, width: int) -> nn.Module:
        """Return a norm of ``width`` channels."""
        if dice.chance(0.15):
            return dice.choose(OwnLayerNorm, OwnRMSNorm)(width, self.dim)
        if self.name == "vectors":
            return dice.choose(
                *[lambda: _batch_norm(dice, nn.BatchNorm1d, width)] * 2,
                lambda: nn.LayerNorm(width),
                lambda: nn.RMSNorm(width),
                lambda: _group_norm(dice, width),
            )()
        if self.name == "sequences":
            return dice.choose(
                lambda: nn.LayerNorm(width, bias=dice.chance(0.8)),
                lambda: nn.RMSNorm(width),
                lambda: OverChannelsSecond(_batch_norm(dice, nn.BatchNorm1d, width)),
            )()
        batch = nn.BatchNorm1d if self.spatial == 1 else nn.BatchNorm2d
        instance = nn.InstanceNorm1d if self.spatial == 1 else nn.InstanceNorm2d
        return dice.choose(
            *[lambda: _batch_norm(dice, batch, width)] * 4,
            lambda: _group_norm(dice, width),
            lambda: instance(width, affine=True, track_running_stats=dice.chance(0.3)),
            lambda: OverChannelsLast(nn.LayerNorm(width)),
        )()


LAYOUTS = tuple(map(Layout, ("vectors", "sequences", "signals", "images")))


def common_divisors(*numbers: int) -> list[int]:
    """Return the divisors that numbers have in common, 1 included."""
    return [d for d in range(1, min(numbers) + 1) if not any(n % d for n in numbers)]


def _batch_norm(dice: Dice, kind: type[nn.Module], width: int) -> nn.Module:
    return kind(
        width,
        momentum=dice.choose(0.1, 0.1, 0.5, None),
        affine=dice.chance(0.9),
        track_running_stats=dice.chance(0.9),
    )


def _group_norm(dice: Dice, width: int) -> nn.Module:
    return nn.GroupNorm(dice.choose(*common_divisors(width)), width)
