"""A small convolutional residual network and how it is trained."""

from __future__ import annotations

import lightning as L
import torch
import torch.nn.functional as F
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import Tensor, nn
from torchmetrics.classification import MulticlassAccuracy


def convolution(
    read: int, written: int, size: int, *, stride: int = 1, groups: int = 1
) -> nn.Sequential:
    """A convolution without bias, batch norm."""
    return nn.Sequential(
        nn.Conv2d(read, written, size, stride, size // 2, groups=groups, bias=False),
        nn.BatchNorm2d(written),
    )


class Residual(nn.Module):
    """Two plain convolutions around a skip connection."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first = convolution(channels, channels, 3)
        self.second = convolution(channels, channels, 3)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``[batch, channels, height, width]`` to the same shape."""
        return F.relu(x + self.second(F.relu(self.first(x))))


class Depthwise(nn.Module):
    """Expand, convolve every channel by itself, project; around a skip connection."""

    def __init__(self, channels: int, expansion: int = 2) -> None:
        super().__init__()
        inner = channels * expansion
        self.expand = convolution(channels, inner, 1)
        self.depthwise = convolution(inner, inner, 3, groups=inner)
        self.project = convolution(inner, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``[batch, channels, height, width]`` to the same shape."""
        inner = F.relu(self.depthwise(F.relu(self.expand(x))))
        return F.relu(x + self.project(inner))


class DigitsClassifier(L.LightningModule):
    """Classify 8 x 8 images of handwritten digits.

    Args:
        width: channels of the first stage; the second has twice as many.
        learning_rate: of AdamW, at the start of a cosine decay.
        weight_decay: of AdamW.
        latency_batch_size: batch at which example inputs are made, and so latency is measured.
    """

    def __init__(
        self,
        width: int = 64,
        learning_rate: float = 2e-3,
        weight_decay: float = 1e-2,
        latency_batch_size: int = 256,
    ) -> None:
        super().__init__()
        self.save_hyperparameters()
        self.stem = convolution(1, width, 3)
        self.stage1 = nn.Sequential(Residual(width), Depthwise(width))
        self.down = convolution(width, 2 * width, 3, stride=2)
        self.stage2 = nn.Sequential(Residual(2 * width), Depthwise(2 * width))
        self.head = nn.Linear(2 * width, 10)
        self.accuracy = MulticlassAccuracy(num_classes=10, average="micro")
        generator = torch.Generator().manual_seed(0)
        self.example_input_array = torch.randn(latency_batch_size, 1, 8, 8, generator=generator)

    def forward(self, x: Tensor) -> Tensor:
        """Map images ``[batch, 1, 8, 8]`` to logits ``[batch, 10]``."""
        x = self.stage1(F.relu(self.stem(x)))
        x = self.stage2(F.relu(self.down(x)))
        logits: Tensor = self.head(x.mean((2, 3)))
        return logits

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        """Return the cross-entropy of one batch."""
        images, digits = batch
        loss = F.cross_entropy(self(images), digits)
        self.log("train/loss", loss)
        return loss

    def validation_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> None:
        """Log the validation accuracy."""
        self._evaluate("val", batch)

    def test_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> None:
        """Log the test accuracy."""
        self._evaluate("test", batch)

    def _evaluate(self, split: str, batch: tuple[Tensor, Tensor]) -> None:
        images, digits = batch
        self.accuracy(self(images), digits)
        self.log(f"{split}/accuracy", self.accuracy, prog_bar=True, on_step=False, on_epoch=True)

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """AdamW under a cosine decay over the whole run."""
        optimizer = torch.optim.AdamW(
            self.parameters(),
            lr=self.hparams["learning_rate"],
            weight_decay=self.hparams["weight_decay"],
        )
        steps = int(self.trainer.estimated_stepping_batches)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
        return {
            "optimizer": optimizer,
            "lr_scheduler": {"scheduler": schedule, "interval": "step"},
        }
