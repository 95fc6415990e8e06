"""A small detector in the shape of YOLO: split blocks, pyramid pooling, a head at two scales."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

STRIDES = (8, 16)
"""Pixels along a side of a cell, at each scale."""


def conv(inputs: int, outputs: int, size: int = 3, stride: int = 1) -> nn.Sequential:
    """Return a convolution with its norm and activation."""
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, size, stride, size // 2, bias=False),
        nn.BatchNorm2d(outputs),
        nn.SiLU(),
    )


class SplitBlock(nn.Module):
    """Half of the channels go through two convolutions, and everything is put side by side."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.enter = conv(width, width, 1)
        self.first = conv(width // 2, width // 2)
        self.second = conv(width // 2, width // 2)
        self.leave = conv(3 * width // 2, width, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``[batch, width, height, width]`` to the same shape."""
        left, right = self.enter(x).chunk(2, 1)
        return self.leave(torch.cat([left, right, right + self.second(self.first(right))], 1))


class PyramidPooling(nn.Module):
    """Maxima over growing neighbourhoods, side by side."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.enter = conv(width, width // 2, 1)
        self.leave = conv(2 * width, width, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``[batch, width, height, width]`` to the same shape."""
        pooled = [self.enter(x)]
        for _ in range(3):
            pooled.append(F.max_pool2d(pooled[-1], 5, 1, 2))
        return self.leave(torch.cat(pooled, 1))


class Detector(nn.Module):
    """Tell of every cell whether the middle of a shape lies there, its class and its box.

    Args:
        classes: how many there are.
        width: channels of the first stage.
    """

    def __init__(self, classes: int, width: int = 16) -> None:
        super().__init__()
        self.stem = nn.Sequential(conv(3, width, stride=2), conv(width, 2 * width, stride=2))
        self.fine = nn.Sequential(conv(2 * width, 4 * width, stride=2), SplitBlock(4 * width))
        self.coarse = nn.Sequential(
            conv(4 * width, 8 * width, stride=2), SplitBlock(8 * width), PyramidPooling(8 * width)
        )
        self.merge = conv(12 * width, 4 * width, 1)
        widths = (4 * width, 8 * width)
        self.heads = nn.ModuleList(
            nn.Sequential(conv(w, w), nn.Conv2d(w, 5 + classes, 1)) for w in widths
        )

    def forward(self, images: Tensor) -> list[Tensor]:
        """Map images ``[batch, 3, height, width]`` to ``[batch, 5 + classes, rows, columns]``.

        Of each scale; the channels are: is there a shape, its box, its class.
        """
        fine = self.fine(self.stem(images))
        coarse = self.coarse(fine)
        upper = F.interpolate(coarse, scale_factor=2.0, mode="nearest")
        scales = [self.merge(torch.cat([fine, upper], 1)), coarse]
        return [head(scale) for head, scale in zip(self.heads, scales, strict=True)]
