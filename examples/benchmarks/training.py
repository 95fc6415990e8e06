"""How much time a training takes whose model becomes compact while it trains.

    python examples/benchmarks/training.py

The same training three times for each seed, in turns: dense, with masks only, and with
``Compaction(during=True)``. Channels go until a quarter of the multiply-adds is left, early in the
training, as the callbacks allow. Seconds are those of the whole fit, updates and compactions with
their proofs included; the accuracy is that of the test images after the last epoch. The last column
says whether both ways of pruning ended with the same masks.
"""

from __future__ import annotations

import argparse
import csv
import statistics
import sys
import time
from dataclasses import astuple, dataclass, fields
from pathlib import Path
from typing import Any

import lightning as L
import torch
import torch.nn.functional as F
import torchvision
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import Tensor
from torch.utils.data import DataLoader, TensorDataset

import lightning_prune as lp
from lightning_prune.display.tables import format_table

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "digits"))
from data import DigitsData
from model import DigitsClassifier

WAYS = ("dense", "masks only", "compact in training")


class LargeDigits(DigitsData):
    """The digits, enlarged to 64 pixels in three channels.

    Args:
        most: at most so many training images.
    """

    def __init__(self, most: int = 512) -> None:
        super().__init__(batch_size=32)
        self.most = most

    def setup(self, stage: str) -> None:
        """Load and enlarge."""
        super().setup(stage)
        parts = (self.train, self.val, self.test)
        self.train, self.val, self.test = (self._enlarged(*part.tensors) for part in parts)

    def _enlarged(self, images: Tensor, labels: Tensor) -> TensorDataset:
        large = F.interpolate(images[: self.most], size=64).expand(-1, 3, -1, -1).contiguous()
        return TensorDataset(large, labels[: self.most])

    def test_dataloader(self) -> DataLoader[Any]:
        """The test images."""
        return DataLoader(self.test, 64)


class ResNet(L.LightningModule):
    """ResNet-18 on enlarged digits."""

    def __init__(self) -> None:
        super().__init__()
        self.net = torchvision.models.resnet18(num_classes=10)
        self.example_input_array = torch.randn(32, 3, 64, 64)

    def forward(self, x: Tensor) -> Tensor:
        """Map images to logits."""
        return self.net(x)

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        """Return the cross-entropy."""
        return F.cross_entropy(self(batch[0]), batch[1])

    def test_step(self, batch: Any, batch_idx: int) -> None:
        """Log the accuracy."""
        right = (self(batch[0]).argmax(1) == batch[1]).float()
        self.log("test_acc", right.mean(), batch_size=len(right))

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """AdamW."""
        return torch.optim.AdamW(self.parameters(), 1e-3)


@dataclass(frozen=True)
class Row:
    """One training."""

    model: str
    seed: int
    way: str
    seconds: float
    accuracy: float
    macs: int
    kept: str


def train(name: str, seed: int, way: str, epochs: int, updates: int) -> Row:
    """Train once.

    Args:
        name: ``"digits"`` or ``"resnet18"``.
        seed: of everything.
        way: one of `WAYS`.
        epochs: how many.
        updates: how many epochs in a row start with an update of the masks.
    """
    L.seed_everything(seed, verbose=False)
    model: Any = DigitsClassifier() if name == "digits" else ResNet()
    data = DigitsData() if name == "digits" else LargeDigits()
    schedule = lp.Cubic(start_epoch=0, end_epoch=updates)
    pruning = lp.Pruning(0.75, schedule=schedule, of="macs")
    compaction = lp.Compaction(during=True, latency=False)
    callbacks: dict[str, list[L.Callback]] = {
        "dense": [],
        "masks only": [pruning],
        "compact in training": [pruning, compaction],
    }
    trainer = L.Trainer(
        accelerator="cpu",
        max_epochs=epochs,
        callbacks=callbacks[way],
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        limit_val_batches=0,
    )
    started_s = time.perf_counter()
    trainer.fit(model, data)
    seconds = time.perf_counter() - started_s
    kept = ""
    if pruning.pruner is not None:
        kept = f"{pruning.pruner.masks.fingerprint():08x}"
    macs = lp.count_macs(model, model.example_input_array[:1])
    (tested,) = trainer.test(model, data, verbose=False)
    accuracy = next(value for key, value in tested.items() if "acc" in key)
    return Row(name, seed, way, seconds, accuracy, macs, kept)


def main() -> None:
    """Train, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--models", nargs="*", default=["digits", "resnet18"])
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--updates", type=int, default=3)
    parser.add_argument("--csv", type=Path, help="write every training there")
    arguments = parser.parse_args()
    rows: list[Row] = []
    for name in arguments.models:
        for seed in range(arguments.seeds):
            for way in WAYS:
                rows.append(train(name, seed, way, arguments.epochs, arguments.updates))
                print(rows[-1], file=sys.stderr, flush=True)
                if arguments.csv is not None:
                    with arguments.csv.open("w") as file:
                        writer = csv.writer(file)
                        writer.writerow([field.name for field in fields(Row)])
                        writer.writerows(map(astuple, rows))
    print(
        f"torch {torch.__version__}, {torch.get_num_threads()} threads, {arguments.epochs} epochs"
    )
    print(summary(rows))


def summary(rows: list[Row]) -> str:
    """Return the table: medians and ranges of ratios within each seed, means of accuracies."""
    lines = []
    for name in dict.fromkeys(row.model for row in rows):
        of = {(row.seed, row.way): row for row in rows if row.model == name}
        seeds = sorted({seed for seed, _ in of})
        for way in WAYS:
            mine = [of[seed, way] for seed in seeds]
            accuracies = [row.accuracy for row in mine]
            spread = statistics.stdev(accuracies) if len(seeds) > 1 else 0.0
            cells = [name, way, f"{statistics.median(row.seconds for row in mine):.1f}"]
            for other in ("dense", "masks only"):
                ratios = [of[seed, way].seconds / of[seed, other].seconds for seed in seeds]
                cells.append(
                    f"{statistics.median(ratios):.2f} ({min(ratios):.2f}-{max(ratios):.2f})"
                )
            cells.append(f"{statistics.mean(accuracies):.4f} ± {spread:.4f}")
            same = sum(of[seed, way].kept == of[seed, "masks only"].kept for seed in seeds)
            cells.append("" if way == "dense" else f"{same} of {len(seeds)}")
            lines.append(cells)
    head = ["model", "way", "seconds", "of dense", "of masks only", "accuracy", "same masks"]
    return format_table(head, lines)


if __name__ == "__main__":
    main()
