"""Networks trained on the digits: a small one, ResNet-18 at 64 pixels, a vision transformer."""

from __future__ import annotations

import itertools
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
import torchvision
from torch import Tensor, nn

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "digits"))
from data import DigitsData
from model import DigitsClassifier

Batch = tuple[Tensor, Tensor]


@dataclass(frozen=True, eq=False)
class Trained:
    """A network with the images that it was trained and is tested on.

    Args:
        model: in eval mode.
        example: images at the batch at which latency counts.
        train: batches of 64 training images.
        test: batches of test images.
    """

    model: nn.Module
    example: Tensor
    train: list[Batch]
    test: list[Batch]


@dataclass(frozen=True)
class Net:
    """How a network is made and trained.

    Args:
        build: makes it.
        size: of the images in pixels; those of more than 8 have three channels.
        batch: at which latency counts.
        epochs: of training.
        recovery: batches of training after the cut.
        recovery_epochs: how often each of them comes.
        learning_rate: of AdamW, at the most.
    """

    build: Callable[[], nn.Module]
    size: int
    batch: int
    epochs: int
    recovery: int
    recovery_epochs: int
    learning_rate: float


NETS = {
    "digits": Net(lambda: DigitsClassifier(), 8, 64, 10, 17, 1, 2e-3),
    "ResNet-18": Net(lambda: torchvision.models.resnet18(num_classes=10), 64, 4, 3, 6, 1, 1e-3),
    "ViT": Net(
        lambda: torchvision.models.VisionTransformer(32, 8, 4, 6, 192, 768, num_classes=10),
        32,
        8,
        40,
        17,
        4,
        1e-3,
    ),
}


def trained(net: Net, folder: Path | None = None) -> Trained:
    """Return a network, trained unless the folder holds its weights.

    Args:
        net: how.
        folder: where its weights are kept; ``None`` = nowhere.
    """
    torch.manual_seed(0)
    model = net.build()
    data = DigitsData()
    data.setup("fit")
    train, test = (_batches(part.tensors, net.size) for part in (data.train, data.test))
    name = f"{type(model).__name__}_{net.size}.pt"
    if folder is not None and (folder / name).exists():
        model.load_state_dict(torch.load(folder / name))
    else:
        fit(model, train, net.epochs, net.learning_rate)
        if folder is not None:
            folder.mkdir(parents=True, exist_ok=True)
            torch.save(model.state_dict(), folder / name)
    return Trained(model.eval(), train[0][0][: net.batch], train, test)


def fit(model: nn.Module, batches: list[Batch], epochs: int, learning_rate: float) -> None:
    """Train with AdamW, one cycle of the learning rate."""
    optimizer = torch.optim.AdamW(model.parameters(), lr=learning_rate)
    cycle = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, learning_rate, total_steps=epochs * len(batches)
    )
    model.train()
    for images, digits in itertools.chain(*itertools.repeat(batches, epochs)):
        optimizer.zero_grad()
        F.cross_entropy(model(images), digits).backward()
        optimizer.step()
        cycle.step()
    model.eval()


def loss_of(model: nn.Module, batch: Batch) -> Tensor:
    """Return the cross-entropy of a batch."""
    return F.cross_entropy(model(batch[0]), batch[1])


@torch.no_grad()
def test_loss(model: nn.Module, data: Trained) -> float:
    """Return the mean cross-entropy of the test images."""
    total = sum(float(loss_of(model, batch)) * len(batch[1]) for batch in data.test)
    return total / sum(len(digits) for _, digits in data.test)


def _batches(tensors: tuple[Tensor, ...], size: int) -> list[Batch]:
    images, digits = tensors
    if size > 8:
        images = F.interpolate(images, size=size).expand(-1, 3, -1, -1).contiguous()
    return list(zip(images.split(64), digits.split(64), strict=True))
