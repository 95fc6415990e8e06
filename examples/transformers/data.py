"""Handwritten digits as texts: 4 x 4 pixels in a row, each a word of a vocabulary of 17 greys."""

from __future__ import annotations

from typing import Any

import lightning as L
import torch
from sklearn.datasets import load_digits
from torch.utils.data import DataLoader, TensorDataset, random_split


class TextData(L.LightningDataModule):
    """1,797 texts of 16 words with one of ten labels, split for training, validation and test.

    Args:
        batch_size: texts in a batch.
        split_seed: seed of the split.
    """

    def __init__(self, batch_size: int = 32, split_seed: int = 0) -> None:
        super().__init__()
        self.batch_size = batch_size
        self.split_seed = split_seed

    def setup(self, stage: str) -> None:
        """Load and split."""
        digits = load_digits()
        images = torch.tensor(digits.images).unfold(1, 2, 2).unfold(2, 2, 2).mean((3, 4))
        texts = images.flatten(1).round().long()
        everything = TensorDataset(texts, torch.tensor(digits.target))
        generator = torch.Generator().manual_seed(self.split_seed)
        self.train, self.val, self.test = random_split(everything, [0.7, 0.1, 0.2], generator)

    def train_dataloader(self) -> DataLoader[Any]:
        """Shuffled batches of one size."""
        return DataLoader(self.train, self.batch_size, shuffle=True, drop_last=True)

    def val_dataloader(self) -> DataLoader[Any]:
        """The validation texts."""
        return DataLoader(self.val, 256)

    def test_dataloader(self) -> DataLoader[Any]:
        """The test texts."""
        return DataLoader(self.test, 256)
