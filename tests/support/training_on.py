"""Compact models that train on: in memory, and from a checkpoint in whatever process.

As a script, ``python training_on.py FOLDER`` trains on from every ``FOLDER/*.ckpt`` and writes what
becomes of the weights to ``FOLDER/*.pt``.
"""

from __future__ import annotations

import sys
import warnings
from pathlib import Path
from typing import Any

import lightning as L
import torch
from torch import Tensor, nn

import lightning_prune as lp
from support import fits
from support.fits import Net, data, make_trainer

FIRST, LAST = 3, 5
"""Epochs until the compaction, and in all."""

# Muon takes no convolutions.
OPTIMIZERS = {name: make for name, make in fits.OPTIMIZERS.items() if name != "Muon"}
OPTIMIZERS["Adafactor"] = lambda p: torch.optim.Adafactor(p, lr=0.01)


@lp.compactable
class Convolutions(Net):
    """The net of the other tests, with a learning rate that falls."""

    def configure_optimizers(self) -> Any:
        optimizer = OPTIMIZERS[self.optimizer](self.parameters())
        return [optimizer], [torch.optim.lr_scheduler.StepLR(optimizer, 1, gamma=0.7)]


class Corrected(Convolutions):
    """Its own class becomes a corrected one: a width is a number in its source."""

    def __init__(self, optimizer: str = "SGD") -> None:
        super().__init__(optimizer)
        with torch.random.fork_rng():
            torch.manual_seed(0)
            self.head = nn.Linear(1, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.body(x).mean((2, 3))
        return self.head(x.sum(-1, keepdim=True) / x.shape[-1])


class Block(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.norm, self.one, self.two = nn.LayerNorm(8), nn.Linear(8, 12), nn.Linear(12, 8)

    def forward(self, x: Tensor) -> Tensor:
        return self.two(self.one(self.norm(x)).relu())


class Stream(Convolutions):
    """A residual stream under norms and attention: its compact forms have corrections."""

    def __init__(self, optimizer: str = "SGD") -> None:
        super().__init__(optimizer)
        with torch.random.fork_rng():
            torch.manual_seed(0)
            self.body = nn.Linear(12, 8)
            self.first, self.second = Block(), Block()
            self.attention = nn.MultiheadAttention(8, 2, batch_first=True)
            self.norm, self.head = nn.LayerNorm(8), nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.body(x.transpose(1, 2).flatten(2))
        x = x + self.first(x)
        x = x + self.attention(x, x, x, need_weights=False)[0]
        x = x + self.second(x)
        return self.head(self.norm(x).mean(1))


NETS: dict[str, type[Convolutions]] = {
    "convolutions": Convolutions,
    "corrected": Corrected,
    "stream": Stream,
}


def fit(model: L.LightningModule, *callbacks: L.Callback, **options: Any) -> L.Trainer:
    trainer = make_trainer(*callbacks, **options.pop("trainer", {}))
    trainer.fit(model, data(same=True), **options)
    return trainer


def train_in_memory(trainer: L.Trainer, model: L.LightningModule) -> None:
    """Train the compact model on with what a trainer holds of optimizers, without Lightning."""
    (optimizer,) = trainer.optimizers
    (config,) = trainer.lr_scheduler_configs
    model.train()
    for _ in range(FIRST, LAST):
        for x, labels in data(same=True):

            def loss(x: Tensor = x, labels: Tensor = labels) -> Tensor:
                optimizer.zero_grad()
                value = nn.functional.cross_entropy(model(x), labels)
                value.backward()
                return value

            optimizer.step(loss)
        config.scheduler.step()  # type: ignore[call-arg]


def train_on(model: L.LightningModule, path: Path, *callbacks: L.Callback) -> None:
    """Let a new trainer go on from a checkpoint."""
    options = {"epochs": LAST, "enable_checkpointing": bool(callbacks)}
    fit(model, *callbacks, trainer=options, ckpt_path=path, **fits.SAFELY)


def main(folder: Path) -> None:
    for path in sorted(folder.glob("*.ckpt")):
        net, optimizer = path.stem.split("-")
        assert optimizer in OPTIMIZERS
        model = NETS[net](optimizer)
        train_on(model, path)
        torch.save(model.state_dict(), path.with_suffix(".pt"))


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    main(Path(sys.argv[1]))
