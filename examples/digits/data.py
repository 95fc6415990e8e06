"""scikit-learn's handwritten digits: 1,797 images of 8 x 8 pixels, shipped inside its package."""

from __future__ import annotations

from typing import Any

import lightning as L
import torch
from sklearn.datasets import load_digits
from torch.utils.data import DataLoader, TensorDataset, random_split


class DigitsData(L.LightningDataModule):
    """Standardised digits, split into training, validation and test images.

    Args:
        batch_size: images in a batch.
        split_seed: seed of the split; the same for every run that is to be compared.
    """

    def __init__(self, batch_size: int = 64, split_seed: int = 0) -> None:
        super().__init__()
        self.batch_size = batch_size
        self.split_seed = split_seed

    def setup(self, stage: str) -> None:
        """Load, split and standardise by the mean and spread of the training pixels."""
        digits = load_digits()
        images = torch.tensor(digits.images, dtype=torch.float32).unsqueeze(1)
        labels = torch.tensor(digits.target)
        generator = torch.Generator().manual_seed(self.split_seed)
        everything = TensorDataset(torch.arange(len(labels)))
        parts = random_split(everything, [0.6, 0.15, 0.25], generator)
        pixels = images[parts[0].indices]
        images = (images - pixels.mean()) / pixels.std()
        self.train, self.val, self.test = (
            TensorDataset(images[part.indices], labels[part.indices]) for part in parts
        )

    def train_dataloader(self) -> DataLoader[Any]:
        """Shuffled training batches."""
        return DataLoader(self.train, self.batch_size, shuffle=True, drop_last=True)

    def val_dataloader(self) -> DataLoader[Any]:
        """The validation images."""
        return DataLoader(self.val, 256)

    def test_dataloader(self) -> DataLoader[Any]:
        """The test images."""
        return DataLoader(self.test, 256)
