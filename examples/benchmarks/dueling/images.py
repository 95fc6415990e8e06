"""CIFAR-10, from a file of arrays or from torchvision, and its augmentation batch by batch."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from dueling.problem import Split, Splits

MEAN = torch.tensor([0.4914, 0.4822, 0.4465]).view(3, 1, 1)
DEVIATION = torch.tensor([0.2470, 0.2435, 0.2616]).view(3, 1, 1)


def load_images(path: Path) -> Splits:
    """Read CIFAR-10, or a part of it, as bytes ``[n, 3, 32, 32]`` and classes ``[n]``.

    Args:
        path: a `.npz` of ``train_x, test_x`` (uint8 ``[n, 32, 32, 3]``) and ``train_y, test_y``
            (``[n]``), or the folder where torchvision keeps or downloads CIFAR-10.
    """
    if path.suffix == ".npz":
        with np.load(path) as arrays:
            return Splits(
                _split(arrays["train_x"], arrays["train_y"]),
                _split(arrays["test_x"], arrays["test_y"]),
            )
    from torchvision.datasets import CIFAR10

    train, test = (CIFAR10(str(path), train=train, download=True) for train in (True, False))
    return Splits(
        _split(train.data, np.array(train.targets)), _split(test.data, np.array(test.targets))
    )


def _split(images: np.ndarray, classes: np.ndarray) -> Split:
    return Split(
        torch.from_numpy(images).permute(0, 3, 1, 2).contiguous(), torch.from_numpy(classes).long()
    )


def normalise(images: Tensor) -> Tensor:
    """Return bytes as standardised numbers, channels last in memory."""
    numbers = (images.float() / 255 - MEAN) / DEVIATION
    return numbers.contiguous(memory_format=torch.channels_last)


def augment(images: Tensor, padding: int = 4) -> Tensor:
    """Shift every image by up to `padding` pixels, mirror half of them, and normalise."""
    number, channels, height, width = images.shape
    rows = torch.arange(height) + torch.randint(2 * padding + 1, (number, 1))
    columns = torch.arange(width) + torch.randint(2 * padding + 1, (number, 1))
    columns = torch.where(torch.rand(number, 1) < 0.5, columns.flip(1), columns)
    shifted = F.pad(images, (padding,) * 4)[
        torch.arange(number).view(-1, 1, 1, 1),
        torch.arange(channels).view(1, -1, 1, 1),
        rows.view(number, 1, height, 1),
        columns.view(number, 1, 1, width),
    ]
    return normalise(shifted)
