"""An LSTM that says which sample comes next."""

from __future__ import annotations

import lightning as L
import torch
import torch.nn.functional as F
from data import CHANNELS
from torch import Tensor, nn


class Forecaster(L.LightningModule):
    """Forecast the next sample of a recording.

    Args:
        width: hidden units of each of the two layers.
        learning_rate: of AdamW.
    """

    def __init__(self, width: int = 64, learning_rate: float = 3e-3) -> None:
        super().__init__()
        self.save_hyperparameters()
        self.rnn = nn.LSTM(CHANNELS, width, num_layers=2, batch_first=True)
        self.head = nn.Linear(width, CHANNELS)
        self.example_input_array = torch.zeros(1, 24, CHANNELS)

    def forward(self, windows: Tensor) -> Tensor:
        """Map windows ``[batch, samples, channels]`` to the next samples ``[batch, channels]``."""
        states, _ = self.rnn(windows)
        change: Tensor = self.head(states[:, -1])
        return windows[:, -1] + change

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        """Return the mean squared error of one batch."""
        loss = F.mse_loss(self(batch[0]), batch[1])
        self.log("train/loss", loss)
        return loss

    def validation_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> None:
        """Log the validation error."""
        self._evaluate("val", batch)

    def test_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> None:
        """Log the test error."""
        self._evaluate("test", batch)

    def _evaluate(self, split: str, batch: tuple[Tensor, Tensor]) -> None:
        """Log the squared error over that of a forecast that nothing changes."""
        windows, targets = batch
        error = F.mse_loss(self(windows), targets) / F.mse_loss(windows[:, -1], targets)
        self.log(f"{split}/relative_error", error, prog_bar=True, batch_size=len(targets))

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """AdamW."""
        return torch.optim.AdamW(self.parameters(), lr=self.hparams["learning_rate"])
