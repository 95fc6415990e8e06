"""scikit-learn's handwritten digits: 1,797 images of 8 x 8 pixels, shipped inside its package."""

from __future__ import annotations

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
        train, val, test = random_split(range(len(labels)), [0.6, 0.15, 0.25], generator)
        pixels = images[list(train)]
        images = (images - pixels.mean()) / pixels.std()
        self.train, self.val, self.test = (
            TensorDataset(images[list(part)], labels[list(part)]) for part in (train, val, test)
        )

    def train_dataloader(self) -> DataLoader:
        """Shuffled training batches."""
        return DataLoader(self.train, self.batch_size, shuffle=True, drop_last=True)

    def val_dataloader(self) -> DataLoader:
        """The validation images."""
        return DataLoader(self.val, 256)

    def test_dataloader(self) -> DataLoader:
        """The test images."""
        return DataLoader(self.test, 256)
