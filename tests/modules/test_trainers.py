"""Copies of LightningModules while a Trainer trains the original."""

from __future__ import annotations

import warnings
from types import SimpleNamespace
from typing import Any

import lightning
import pytest
import pytorch_lightning
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset
from torchmetrics import MeanMetric, MetricCollection

from lightning_prune.modules.trainers import attach_like
from lightning_prune.modules.twin import twin


def module_of(package: Any) -> Any:
    class Net(package.LightningModule):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(2, 2)
            self.metric = MeanMetric()
            self.metrics = MetricCollection({"mean": MeanMetric()})
            self.training_step_outputs: list[Tensor] = []
            self.data = TensorDataset(torch.zeros(4, 2))
            self.copies: list[Any] = []

        def forward(self, x: Tensor) -> Tensor:
            out = self.layer(x) * (1 + self.trainer.max_epochs)
            self.log("mean", out.mean())
            self.log_dict({"largest": out.max()})
            self.metric.update(out.detach())
            self.metrics.update(out.detach())
            self.training_step_outputs.append(out.mean())
            return out

        def training_step(self, batch: Any, batch_idx: int) -> Tensor:
            loss = self(batch[0]).square().mean()
            copied = twin(self)
            copied(batch[0])
            self.seen = copied
            return loss

        def on_train_epoch_end(self) -> None:
            assert len(self.training_step_outputs) == 2
            self.training_step_outputs.clear()

        def train_dataloader(self) -> Any:
            return DataLoader(self.data, 2)

        def configure_optimizers(self) -> Any:
            return torch.optim.SGD(self.parameters(), lr=0.1)

    return Net()


@pytest.mark.parametrize("package", [lightning, pytorch_lightning], ids=lambda p: p.__name__)
def test_a_copy_asks_the_trainer_but_logs_nothing(package: Any) -> None:
    model = module_of(package)
    trainer = package.Trainer(
        max_epochs=2,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(model)
    assert model.seen.trainer is trainer
    assert model.seen.data is model.data
    assert set(trainer.callback_metrics) == {"mean", "largest"}
    assert model.metric.update_count == model.metrics["mean"].update_count == 4
    assert model.seen.metric.update_count == 5
    with warnings.catch_warnings():  # after the fit, logging would be an error
        warnings.simplefilter("error")
        twin(twin(model))(torch.zeros(1, 2))


def test_without_a_trainer_nothing_is_logged_either() -> None:
    net = lightning.LightningModule()
    copied = twin(net)
    copied.log("a", 1.0)
    assert copied._trainer is None
    assert "log" not in vars(net)


def test_a_copy_does_not_wait_for_other_ranks() -> None:
    original, copied = lightning.LightningModule(), lightning.LightningModule()
    vars(original)["_trainer"] = SimpleNamespace(world_size=2)
    attach_like([original, nn.Linear(1, 1)], {id(original): copied})
    with pytest.raises(RuntimeError, match="one rank alone"):
        copied.all_gather(torch.zeros(1))


def test_other_modules_are_left_alone() -> None:
    original, copied = nn.Linear(1, 1), nn.Linear(1, 1)
    attach_like([original], {id(original): copied})
    assert "log" not in vars(copied)
