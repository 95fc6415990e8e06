"""Handwritten digits as colour images of 32 x 32 pixels, as networks for photographs take them."""

from __future__ import annotations

from typing import Any

import lightning as L
import torch
import torch.nn.functional as F
from sklearn.datasets import load_digits
from torch.utils.data import DataLoader, TensorDataset, random_split

PIXELS = 32


class DigitImages(L.LightningDataModule):
    """1,797 images, split for training, validation and test.

    Args:
        batch_size: images in a batch.
        split_seed: seed of the split.
    """

    def __init__(self, batch_size: int = 64, split_seed: int = 0) -> None:
        super().__init__()
        self.batch_size = batch_size
        self.split_seed = split_seed

    def setup(self, stage: str) -> None:
        """Load, enlarge and split."""
        digits = load_digits()
        grey = torch.tensor(digits.images, dtype=torch.float32)[:, None] / 8 - 1
        images = F.interpolate(grey, size=(PIXELS, PIXELS), mode="bilinear").expand(-1, 3, -1, -1)
        everything = TensorDataset(images, torch.tensor(digits.target))
        generator = torch.Generator().manual_seed(self.split_seed)
        self.train, self.val, self.test = random_split(everything, [0.6, 0.15, 0.25], generator)

    def train_dataloader(self) -> DataLoader[Any]:
        """Shuffled batches of one size."""
        return DataLoader(self.train, self.batch_size, shuffle=True, drop_last=True)

    def val_dataloader(self) -> DataLoader[Any]:
        """The validation images."""
        return DataLoader(self.val, 256)

    def test_dataloader(self) -> DataLoader[Any]:
        """The test images."""
        return DataLoader(self.test, 256)
