"""How the detector is trained and judged."""

from __future__ import annotations

import lightning as L
import torch
import torch.nn.functional as F
from data import SHAPES, SIZE
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from net import STRIDES, Detector
from torch import Tensor
from torchvision.ops import batched_nms, box_iou, complete_box_iou_loss

LARGE = 22
"""Shapes from this width on, in pixels, are for the coarse scale."""


class ShapeDetector(L.LightningModule):
    """Find drawn shapes.

    Args:
        width: channels of the first stage.
        learning_rate: of AdamW, at its highest.
    """

    def __init__(self, width: int = 16, learning_rate: float = 4e-3) -> None:
        super().__init__()
        self.save_hyperparameters()
        self.net = Detector(len(SHAPES), width)
        self.example_input_array = torch.zeros(1, 3, SIZE, SIZE)
        self.found = torch.zeros(3)

    def forward(self, images: Tensor) -> list[Tensor]:
        """Map images to what each cell of each scale says."""
        scales: list[Tensor] = self.net(images)
        return scales

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        """Return the loss of one batch."""
        images, targets = batch
        losses = [
            _loss(cells, targets, stride)
            for cells, stride in zip(self(images), STRIDES, strict=True)
        ]
        loss = torch.stack(losses).sum()
        self.log("train/loss", loss)
        return loss

    def on_test_epoch_start(self) -> None:
        """Forget what was found before."""
        self.found = torch.zeros(3)

    def test_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> None:
        """Count what is found rightly, what is said, and what there is."""
        images, targets = batch
        for found, target in zip(detections(self(images)), targets, strict=True):
            there = target[target[:, 0] >= 0]
            overlap = box_iou(there[:, 1:], found[:, 1:]) > 0.5
            same = there[:, :1] == found[None, :, 0]
            self.found += torch.tensor(
                [float((overlap & same).any(1).sum()), float(len(found)), float(len(there))]
            )

    def on_test_epoch_end(self) -> None:
        """Log the F1 score of boxes that overlap by more than half and name the right shape."""
        right, said, there = self.found.tolist()
        self.log("test/f1", 2 * right / max(said + there, 1.0))

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


def _loss(cells: Tensor, targets: Tensor, stride: int) -> Tensor:
    """Return the loss at one scale: is there a shape, where, and which."""
    width = targets[..., 3] - targets[..., 1]
    own = (targets[..., 0] >= 0) & ((width >= LARGE) == (stride == STRIDES[1]))
    images, places = own.nonzero(as_tuple=True)
    kinds, boxes = targets[images, places, 0].long(), targets[images, places, 1:]
    middle = ((boxes[:, :2] + boxes[:, 2:]) / 2 / stride).long()
    wanted = torch.zeros_like(cells[:, 0])
    wanted[images, middle[:, 1], middle[:, 0]] = 1.0
    loss = F.binary_cross_entropy_with_logits(cells[:, 0], wanted, reduction="sum") / len(cells)
    if len(images):
        here = cells[images, :, middle[:, 1], middle[:, 0]]
        loss = loss + F.cross_entropy(here[:, 5:], kinds)
        loss = loss + 2 * complete_box_iou_loss(_box(here[:, 1:5], middle, stride), boxes).mean()
    return loss


def _box(sides: Tensor, cell: Tensor, stride: int) -> Tensor:
    """Return boxes ``[boxes, 4]`` from the distances of their sides to the middle of a cell."""
    middle = (cell + 0.5) * stride
    left, right = (F.softplus(part) * stride for part in sides.split(2, -1))
    return torch.cat([middle - left, middle + right], -1)


@torch.no_grad()
def detections(scales: list[Tensor], least: float = 0.5) -> list[Tensor]:
    """Return what is found in each image: class and box, ``[found, 5]``.

    Args:
        scales: what `ShapeDetector.forward` returns.
        least: how sure it must be, in [0, 1].
    """
    found = []
    for index in range(len(scales[0])):
        rows, scores = [], []
        for cells, stride in zip(scales, STRIDES, strict=True):
            sure = cells[index, 0].sigmoid()
            down, across = (sure >= least).nonzero(as_tuple=True)
            here = cells[index, :, down, across].T
            boxes = _box(here[:, 1:5], torch.stack([across, down], -1), stride)
            rows.append(torch.cat([here[:, 5:].argmax(-1, keepdim=True), boxes], -1))
            scores.append(sure[down, across])
        every, score = torch.cat(rows), torch.cat(scores)
        found.append(every[batched_nms(every[:, 1:], score, every[:, 0], 0.5)])
    return found
