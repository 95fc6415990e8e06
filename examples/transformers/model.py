"""A small BERT of transformers that classifies texts, and how it is trained."""

from __future__ import annotations

import lightning as L
import torch
import torch.nn.functional as F
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import Tensor
from torchmetrics.classification import MulticlassAccuracy
from transformers import AutoModelForSequenceClassification, BertConfig

HEAD_SIZE = 16
"""Features of a head."""


class TextClassifier(L.LightningModule):
    """Classify texts of 16 words.

    Args:
        width: features of a token, a multiple of `HEAD_SIZE`.
        layers: of the encoder.
        learning_rate: of AdamW, at its highest.
    """

    def __init__(self, width: int = 64, layers: int = 4, learning_rate: float = 2e-3) -> None:
        super().__init__()
        self.save_hyperparameters()
        config = BertConfig(
            vocab_size=17,
            hidden_size=width,
            num_hidden_layers=layers,
            num_attention_heads=width // HEAD_SIZE,
            intermediate_size=4 * width,
            max_position_embeddings=16,
            initializer_range=0.1,  # a network this narrow hardly learns from the usual 0.02
        )
        config.num_labels = 10
        self.net = AutoModelForSequenceClassification.from_config(config)
        self.accuracy = MulticlassAccuracy(num_classes=10, average="micro")
        self.example_input_array = torch.zeros(64, 16, dtype=torch.long)

    def forward(self, texts: Tensor) -> Tensor:
        """Map words ``[batch, 16]`` to logits ``[batch, 10]``."""
        logits: Tensor = self.net(texts).logits
        return logits

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        """Return the cross-entropy of one batch."""
        texts, labels = batch
        loss = F.cross_entropy(self(texts), labels)
        self.log("train/loss", loss)
        return loss

    def validation_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> None:
        """Log the validation accuracy."""
        self._evaluate("val", batch)

    def test_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> None:
        """Log the test accuracy."""
        self._evaluate("test", batch)

    def _evaluate(self, split: str, batch: tuple[Tensor, Tensor]) -> None:
        texts, labels = batch
        self.accuracy(self(texts), labels)
        self.log(f"{split}/accuracy", self.accuracy, prog_bar=True, on_step=False, on_epoch=True)

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """AdamW, whose rate rises for a tenth of the run and then falls."""
        optimizer = torch.optim.AdamW(self.parameters(), lr=self.hparams["learning_rate"])
        schedule = torch.optim.lr_scheduler.OneCycleLR(
            optimizer,
            max_lr=self.hparams["learning_rate"],
            total_steps=int(self.trainer.estimated_stepping_batches),
            pct_start=0.1,
        )
        return {
            "optimizer": optimizer,
            "lr_scheduler": {"scheduler": schedule, "interval": "step"},
        }
