"""Prune in a training loop of one's own, here under Fabric: handwritten digits.

    python examples/fabric/train.py                # half a minute on a CPU
    python examples/fabric/train.py --resume       # goes on where a killed run left off

Three lines of a plain loop are about pruning: `attach` hooks into the optimizer, `step` updates the
masks, `finish` removes what is masked. Without Fabric they are the same.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from lightning.fabric import Fabric
from sklearn.datasets import load_digits
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

import lightning_prune as lp


def network(width: int) -> nn.Sequential:
    """Return a small convolutional network for images of 8 x 8 pixels."""
    layers: list[nn.Module] = []
    for read, written, stride in ((1, width, 1), (width, width, 1), (width, 2 * width, 2)):
        convolution = nn.Conv2d(read, written, 3, stride, padding=1, bias=False)
        layers += [convolution, nn.BatchNorm2d(written), nn.ReLU()]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(2 * width, 10))


def digits() -> tuple[TensorDataset, TensorDataset]:
    """Return images and digits to train on, and to test with."""
    found = load_digits()
    images = torch.tensor(found.images, dtype=torch.float32).unsqueeze(1) / 16
    labels = torch.tensor(found.target)
    return TensorDataset(images[:1300], labels[:1300]), TensorDataset(images[1300:], labels[1300:])


@torch.no_grad()
def accuracy(model: nn.Module, test: TensorDataset) -> float:
    """Return the share of images that are classified right."""
    images, labels = test.tensors
    model.eval()
    right = (model(images).argmax(1) == labels).float().mean()
    model.train()
    return float(right)


def main(options: argparse.Namespace) -> None:
    """Train, prune on the way, compact at the end."""
    fabric = Fabric(accelerator="cpu", devices=1)
    fabric.seed_everything(options.seed, verbose=False)
    train, test = digits()
    images: Tensor = test.tensors[0]

    plain = network(options.width)
    pruner = lp.Pruner(
        plain,
        images[:64],
        sparsity=options.sparsity,
        schedule=lp.Cubic(start_epoch=1, end_epoch=options.epochs - 3),
        allocation=lp.Uniform(),
    )
    model, optimizer = fabric.setup(plain, torch.optim.AdamW(plain.parameters(), lr=2e-3))
    pruner.attach(optimizer)

    state: dict[str, Any] = {"model": model, "optimizer": optimizer, "pruner": pruner, "epoch": 0}
    if options.resume:
        fabric.load(options.folder / "last.ckpt", state)
    for epoch in range(state["epoch"], options.epochs):
        torch.manual_seed(options.seed + epoch)  # a resumed run draws the same batches
        loader = fabric.setup_dataloaders(DataLoader(train, 64, shuffle=True, drop_last=True))
        for batch, labels in loader:
            update = pruner.step(epoch)
            if update is not None:
                fabric.print(f"epoch {epoch}: {update.line(90)}")
            fabric.backward(F.cross_entropy(model(batch), labels))
            optimizer.step()
            optimizer.zero_grad()
        fabric.save(options.folder / "last.ckpt", {**state, "epoch": epoch + 1})

    before = accuracy(plain, test)
    report = pruner.finish(images[:256])
    fabric.print(report)
    fabric.print(f"test accuracy {before:.4f} before compaction, {accuracy(plain, test):.4f} after")
    lp.save_compact(plain, options.folder / "compact.safetensors")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--epochs", type=int, default=8)
    parser.add_argument("--width", type=int, default=48, help="channels of the first layers")
    parser.add_argument("--sparsity", type=float, default=0.75)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--folder", type=Path, default=Path("runs/fabric"))
    parser.add_argument("--resume", action="store_true")
    main(parser.parse_args())
