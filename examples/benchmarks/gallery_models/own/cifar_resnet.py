"""A residual network for small images, whose shortcuts have no weights."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn


class PaddedBlock(nn.Module):
    """A residual block whose shortcut takes every other pixel and pads the channels with zeros."""

    def __init__(self, read: int, written: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(read, written, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(written)
        self.conv2 = nn.Conv2d(written, written, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(written)
        self.stride, self.missing = stride, written - read

    def forward(self, x: Tensor) -> Tensor:
        """Map ``[batch, read, height, width]`` to ``[batch, written, …]``."""
        y = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)))))
        if self.stride > 1:
            x = x[:, :, :: self.stride, :: self.stride]
            x = F.pad(x, (0, 0, 0, 0, self.missing // 2, self.missing // 2))
        return F.relu(x + y)


class CifarResNet(nn.Module):
    """He et al., 2015, arXiv:1512.03385, section 4.2, with the shortcuts of option A."""

    def __init__(self, blocks: int = 2, width: int = 16) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, width, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(width)
        layers = []
        for stage in range(3):
            for block in range(blocks):
                first = stage > 0 and block == 0
                read = width * 2 ** (stage - 1) if first else width * 2**stage
                layers.append(PaddedBlock(read, width * 2**stage, 2 if first else 1))
        self.blocks = nn.Sequential(*layers)
        self.head = nn.Linear(4 * width, 10)

    def forward(self, images: Tensor) -> Tensor:
        """Map ``[batch, 3, height, width]`` to logits."""
        x = self.blocks(F.relu(self.norm(self.stem(images))))
        return self.head(x.mean((2, 3)))
