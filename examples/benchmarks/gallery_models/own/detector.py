"""A detector in the shape of YOLOv8, of our own writing."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def convolution(read: int, written: int, size: int = 3, stride: int = 1) -> nn.Sequential:
    """A convolution, batch norm, SiLU."""
    layer = nn.Conv2d(read, written, size, stride, size // 2, bias=False)
    return nn.Sequential(layer, nn.BatchNorm2d(written), nn.SiLU())


class Bottlenecks(nn.Module):
    """Half of the channels go through residual blocks; every block's result is kept (C2f)."""

    def __init__(self, read: int, written: int, blocks: int, residual: bool = True) -> None:
        super().__init__()
        self.part = written // 2
        self.enter = convolution(read, written, 1)
        self.blocks = nn.ModuleList(
            nn.Sequential(convolution(self.part, self.part), convolution(self.part, self.part))
            for _ in range(blocks)
        )
        self.leave = convolution((2 + blocks) * self.part, written, 1)
        self.residual = residual

    def forward(self, x: Tensor) -> Tensor:
        """Map ``[batch, read, height, width]`` to ``[batch, written, height, width]``."""
        parts = list(self.enter(x).split((self.part, self.part), 1))
        for block in self.blocks:
            y = block(parts[-1])
            parts.append(parts[-1] + y if self.residual else y)
        return self.leave(torch.cat(parts, 1))


class Pooling(nn.Module):
    """Three max poolings in a row, side by side (SPPF)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.enter = convolution(width, width // 2, 1)
        self.leave = convolution(2 * width, width, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``[batch, width, height, width]`` to the same shape."""
        parts = [self.enter(x)]
        for _ in range(3):
            parts.append(F.max_pool2d(parts[-1], 5, 1, 2))
        return self.leave(torch.cat(parts, 1))


class Scale(nn.Module):
    """Boxes, as distributions over distances to four sides, and classes of one scale."""

    def __init__(self, read: int, width: int, classes: int, distances: int) -> None:
        super().__init__()
        self.boxes = nn.Sequential(convolution(read, width), nn.Conv2d(width, 4 * distances, 1))
        self.classes = nn.Sequential(convolution(read, width), nn.Conv2d(width, classes, 1))
        self.distances = distances

    def forward(self, x: Tensor) -> Tensor:
        """Return four distances and the classes' logits, shape ``[batch, 4 + classes, pixels]``."""
        shares = self.boxes(x).flatten(2).unflatten(1, (4, self.distances)).softmax(2)
        steps = torch.arange(self.distances, device=x.device, dtype=x.dtype)
        return torch.cat([(shares * steps[:, None]).sum(2), self.classes(x).flatten(2)], 1)


class Detector(nn.Module):
    """Jocher et al., 2023, "Ultralytics YOLOv8": its parts, in two convolutions a block."""

    def __init__(self, width: int = 16, classes: int = 5, distances: int = 8) -> None:
        super().__init__()
        w1, w2, w3 = width, 2 * width, 4 * width
        self.stem = nn.Sequential(convolution(3, w1, 3, 2), convolution(w1, w1, 3, 2))
        self.stage1 = nn.Sequential(Bottlenecks(w1, w1, 1), convolution(w1, w2, 3, 2))
        self.stage2 = Bottlenecks(w2, w2, 2)
        self.stage3 = nn.Sequential(convolution(w2, w3, 3, 2), Bottlenecks(w3, w3, 1))
        self.stage4 = nn.Sequential(convolution(w3, w3, 3, 2), Bottlenecks(w3, w3, 1), Pooling(w3))
        self.up3 = Bottlenecks(w3 + w3, w3, 1, residual=False)
        self.up2 = Bottlenecks(w3 + w2, w2, 1, residual=False)
        self.halve2 = convolution(w2, w2, 3, 2)
        self.down3 = Bottlenecks(w2 + w3, w3, 1, residual=False)
        self.halve3 = convolution(w3, w3, 3, 2)
        self.down4 = Bottlenecks(w3 + w3, w3, 1, residual=False)
        self.scales = nn.ModuleList(Scale(w, w1, classes, distances) for w in (w2, w3, w3))

    def forward(self, images: Tensor) -> Tensor:
        """Map ``[batch, 3, height, width]`` to what is found, ``[batch, 4 + classes, places]``."""
        c2 = self.stage2(self.stage1(self.stem(images)))
        c3 = self.stage3(c2)
        c4 = self.stage4(c3)
        p3 = self.up3(torch.cat([F.interpolate(c4, scale_factor=2.0), c3], 1))
        p2 = self.up2(torch.cat([F.interpolate(p3, scale_factor=2.0), c2], 1))
        n3 = self.down3(torch.cat([self.halve2(p2), p3], 1))
        n4 = self.down4(torch.cat([self.halve3(n3), c4], 1))
        levels = zip(self.scales, (p2, n3, n4), strict=True)
        return torch.cat([scale(level) for scale, level in levels], 2)
