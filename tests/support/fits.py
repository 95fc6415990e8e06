"""A tiny LightningModule, its data, and fits of it, which the tests of the callbacks share."""

from __future__ import annotations

from inspect import signature
from typing import Any

import lightning as L
import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from lightning_prune.callbacks.pruning.callback import Pruning

BATCHES = 4
# Before 2.6, lightning has no such option.
SAFELY: dict[str, Any] = (
    {"weights_only": True} if "weights_only" in signature(L.Trainer.fit).parameters else {}
)
OPTIMIZERS = {
    "SGD": lambda p: torch.optim.SGD(p, lr=0.1),
    "momentum": lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9, weight_decay=0.01),
    "nesterov": lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9, nesterov=True, foreach=True),
    "Adam": lambda p: torch.optim.Adam(p, lr=0.01),
    "amsgrad": lambda p: torch.optim.Adam(p, lr=0.01, amsgrad=True, foreach=True),
    "AdamW": lambda p: torch.optim.AdamW(p, lr=0.01, weight_decay=0.1),
    "fused": lambda p: torch.optim.AdamW(p, lr=0.01, weight_decay=0.1, fused=True),
    "RMSprop": lambda p: torch.optim.RMSprop(p, lr=0.01, momentum=0.9, centered=True),
    "Adafactor": lambda p: torch.optim.Adafactor(p, lr=0.01),
    "LBFGS": lambda p: torch.optim.LBFGS(p, lr=0.1, max_iter=2),
}

if hasattr(torch.optim, "Muon"):
    OPTIMIZERS["Muon"] = lambda p: _Muon(list(p))


def _Muon(parameters: list[Tensor]) -> torch.optim.Optimizer:  # noqa: N802 it stands for a class
    """Muon takes matrices only, so the net's convolutions stand still."""
    matrices = [p for p in parameters if p.dim() == 2]
    return torch.optim.Muon(matrices, lr=0.01, weight_decay=0.1)


def data(*, same: bool = False) -> DataLoader[Any]:
    """Return a few batches; all the same where a run must not depend on which come again."""
    generator = torch.Generator().manual_seed(1)
    inputs = torch.randn(4 * BATCHES, 2, 6, 6, generator=generator)
    labels = torch.randint(0, 3, (4 * BATCHES,), generator=generator)
    if same:
        inputs, labels = inputs[:4].repeat(BATCHES, 1, 1, 1), labels[:4].repeat(BATCHES)
    return DataLoader(TensorDataset(inputs, labels), batch_size=4)


class Net(L.LightningModule):
    """Two convolutions and a linear head; ``bad_steps`` get a loss that is not a number."""

    def __init__(self, optimizer: str = "SGD", bad_steps: tuple[int, ...] = ()) -> None:
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(0)
            self.body = nn.Sequential(
                nn.Conv2d(2, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 6, 3), nn.ReLU()
            )
            self.head = nn.Linear(6, 3)
        self.optimizer = optimizer
        self.bad_steps = bad_steps
        self.example_input_array = None

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.body(x).mean((2, 3)))

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        loss = nn.functional.cross_entropy(self(batch[0]), batch[1])
        bad = self.trainer.current_epoch * BATCHES + batch_idx in self.bad_steps
        return loss * (torch.nan if bad else 1.0)

    def optimizer_step(self, epoch: Any, batch_idx: int, optimizer: Any, closure: Any) -> None:
        """Skip what is not finite, as the scaler of mixed precision does."""
        if epoch * BATCHES + batch_idx not in self.bad_steps:
            optimizer.step(closure=closure)
            return
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(type(optimizer._optimizer), "step", lambda _, closure: closure())
            optimizer._optimizer.step(closure)

    def configure_optimizers(self) -> Any:
        return OPTIMIZERS[self.optimizer](self.parameters())


def make_trainer(*callbacks: L.Callback, epochs: int = 4, **options: Any) -> L.Trainer:
    return L.Trainer(
        accelerator="cpu",
        max_epochs=epochs,
        callbacks=list(callbacks),
        enable_model_summary=False,
        **{"logger": False, "enable_checkpointing": False, "enable_progress_bar": False} | options,
    )


def fit(model: L.LightningModule, *callbacks: L.Callback, **options: Any) -> L.Trainer:
    trainer = make_trainer(*callbacks, **options)
    trainer.fit(model, data())
    return trainer


def zeros(model: nn.Module, pruning: Pruning) -> Tensor:
    """Where the masked parameters are zero, flat."""
    assert pruning.pruner is not None
    return torch.cat([(model.get_parameter(n) == 0).flatten() for n in pruning.pruner.masks])


class Watch(L.Callback):
    """Notes the sparsity reached, and what has revived, after every batch."""

    def __init__(self, pruning: Pruning) -> None:
        self.pruning = pruning
        self.seen: list[float] = []
        self.revived = 0

    def on_train_batch_end(self, trainer: L.Trainer, pl_module: Any, *_: Any) -> None:
        pruner = self.pruning.pruner
        assert pruner is not None
        self.seen.append(pruner.sparsity)
        for name, mask in pruner.masks.items():
            self.revived += int((pl_module.get_parameter(name)[~mask] != 0).sum())


class NotedScores(L.Callback):
    """Copies the scores of all units at the end of the first epoch."""

    def __init__(self, pruning: Pruning) -> None:
        self.pruning = pruning
        self.first: Tensor | None = None

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: Any) -> None:
        assert self.pruning.pruner is not None
        if self.first is None:
            self.first = torch.cat([s.flatten() for s in self.pruning.pruner.scorer.scores()])


class Validated(Net):
    """The same, with a validation that logs ``val_loss`` and a test that logs ``test_loss``."""

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        self.log("val_loss", nn.functional.cross_entropy(self(batch[0]), batch[1]))

    def test_step(self, batch: Any, batch_idx: int) -> None:
        self.log("test_loss", nn.functional.cross_entropy(self(batch[0]), batch[1]))
