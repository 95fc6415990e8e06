"""A network of torchvision with a new last layer."""

from __future__ import annotations

import lightning as L
import torch
import torch.nn.functional as F
import torchvision
from data import PIXELS
from torch import Tensor, nn
from torchmetrics.classification import MulticlassAccuracy


class FineTuned(L.LightningModule):
    """Classify images with a backbone that was trained on others.

    Args:
        backbone: name of a network of torchvision whose last layer is ``fc``.
        weights: those of torchvision to start from, such as ``"DEFAULT"``, which are downloaded;
            random ones by default.
        learning_rate: of SGD.
    """

    def __init__(
        self,
        backbone: str = "resnet18",
        weights: str | None = None,
        learning_rate: float = 0.05,
    ) -> None:
        super().__init__()
        self.save_hyperparameters()
        self.net = torchvision.models.get_model(backbone, weights=weights)
        self.net.fc = nn.Linear(self.net.fc.in_features, 10)
        self.accuracy = MulticlassAccuracy(num_classes=10, average="micro")
        self.example_input_array = torch.zeros(1, 3, PIXELS, PIXELS)

    def forward(self, images: Tensor) -> Tensor:
        """Map images ``[batch, 3, height, width]`` to logits ``[batch, 10]``."""
        logits: Tensor = self.net(images)
        return logits

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        """Return the cross-entropy of one batch."""
        images, labels = batch
        loss = F.cross_entropy(self(images), labels)
        self.log("train/loss", loss)
        return loss

    def validation_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> None:
        """Log the validation accuracy."""
        self._evaluate("val", batch)

    def test_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> None:
        """Log the test accuracy."""
        self._evaluate("test", batch)

    def _evaluate(self, split: str, batch: tuple[Tensor, Tensor]) -> None:
        images, labels = batch
        self.accuracy(self(images), labels)
        self.log(f"{split}/accuracy", self.accuracy, prog_bar=True, on_step=False, on_epoch=True)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """SGD with momentum and a weight decay."""
        return torch.optim.SGD(
            self.parameters(), lr=self.hparams["learning_rate"], momentum=0.9, weight_decay=5e-4
        )
