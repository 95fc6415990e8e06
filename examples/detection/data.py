"""Drawn shapes: discs, squares and triangles on noise, and the boxes around them."""

from __future__ import annotations

from typing import Any

import lightning as L
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

SIZE = 64
"""Pixels along a side of an image."""

SHAPES = ("disc", "square", "triangle")
MOST = 3
"""Shapes in an image, at most."""


def drawn(seed: int) -> tuple[Tensor, Tensor]:
    """Draw an image.

    Args:
        seed: the same one gives the same image.

    Returns:
        Pixels ``[3, SIZE, SIZE]``, and for each of `MOST` places its class (-1 where there is no
        shape) and its box: left, top, right and bottom in pixels, ``[MOST, 5]``.
    """
    generator = torch.Generator().manual_seed(seed)
    image = 0.3 * torch.randn(3, SIZE, SIZE, generator=generator)
    targets = torch.full((MOST, 5), -1.0)
    rows, columns = torch.meshgrid(torch.arange(SIZE), torch.arange(SIZE), indexing="ij")
    for place in range(int(torch.randint(1, MOST + 1, (), generator=generator))):
        radius = int(torch.randint(6, 16, (), generator=generator))
        x, y = torch.randint(radius, SIZE - radius, (2,), generator=generator).tolist()
        kind = int(torch.randint(len(SHAPES), (), generator=generator))
        across, down = (columns - x).abs(), rows - y
        inside = {
            "disc": across**2 + down**2 <= radius**2,
            "square": (across <= radius) & (down.abs() <= radius),
            "triangle": (across <= (down + radius) / 2) & (down <= radius),
        }[SHAPES[kind]]
        color = torch.rand(3, 1, generator=generator) + 0.5
        image[:, inside] = color + 0.1 * torch.randn(3, int(inside.sum()), generator=generator)
        targets[place] = torch.tensor([kind, x - radius, y - radius, x + radius, y + radius])
    return image, targets


class Drawings(Dataset[tuple[Tensor, Tensor]]):
    """As many drawings as asked for, drawn once."""

    def __init__(self, first_seed: int, count: int) -> None:
        self.drawings = [drawn(first_seed + index) for index in range(count)]

    def __len__(self) -> int:
        return len(self.drawings)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        return self.drawings[index]


class ShapesData(L.LightningDataModule):
    """Drawings for training and for tests.

    Args:
        count: drawings to train on; a quarter as many are for tests.
        batch_size: drawings in a batch.
    """

    def __init__(self, count: int = 1024, batch_size: int = 32) -> None:
        super().__init__()
        self.count = count
        self.batch_size = batch_size

    def setup(self, stage: str) -> None:
        """Draw."""
        self.train = Drawings(0, self.count)
        self.test = Drawings(10**6, self.count // 4)

    def train_dataloader(self) -> DataLoader[Any]:
        """Shuffled batches of one size."""
        return DataLoader(self.train, self.batch_size, shuffle=True, drop_last=True)

    def test_dataloader(self) -> DataLoader[Any]:
        """The drawings for tests."""
        return DataLoader(self.test, self.batch_size)
