"""An electroencephalogram: 4 channels, 800 samples at 200 Hz, shipped inside matplotlib."""

from __future__ import annotations

from typing import Any

import lightning as L
import numpy as np
import torch
from matplotlib.cbook import get_sample_data
from torch import Tensor
from torch.utils.data import DataLoader, TensorDataset

CHANNELS = 4


class EegData(L.LightningDataModule):
    """Windows of the recording, each with the sample that comes next.

    The first 60% of the recording are for training, the next 15% for validation, the rest for
    tests; no window reaches into another part.

    Args:
        window: samples in a window.
        batch_size: windows in a batch.
    """

    def __init__(self, window: int = 24, batch_size: int = 32) -> None:
        super().__init__()
        self.window = window
        self.batch_size = batch_size

    def setup(self, stage: str) -> None:
        """Read, standardise by the training part, and cut into windows."""
        path = str(get_sample_data("eeg.dat", asfileobj=False))
        samples = np.fromfile(path, dtype=float).reshape(-1, CHANNELS)
        recording = torch.tensor(samples, dtype=torch.float32)
        ends = [int(len(recording) * share) for share in (0.6, 0.75, 1.0)]
        training = recording[: ends[0]]
        recording = (recording - training.mean(0)) / training.std(0)
        parts = (recording[start:end] for start, end in zip([0, *ends], ends, strict=False))
        self.train, self.val, self.test = map(self._windows, parts)

    def _windows(self, part: Tensor) -> TensorDataset:
        windows = part.unfold(0, self.window + 1, 1).transpose(1, 2)
        return TensorDataset(windows[:, :-1], windows[:, -1])

    def train_dataloader(self) -> DataLoader[Any]:
        """Shuffled batches of one size."""
        return DataLoader(self.train, self.batch_size, shuffle=True, drop_last=True)

    def val_dataloader(self) -> DataLoader[Any]:
        """The validation windows."""
        return DataLoader(self.val, 256)

    def test_dataloader(self) -> DataLoader[Any]:
        """The test windows."""
        return DataLoader(self.test, 256)
