from pathlib import Path
from typing import Any

import lightning as L
import pytest
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from lightning_prune.callbacks.sparsity_monitor import SparsityMonitor


class Net(L.LightningModule):
    def __init__(self, *, compiled: bool = False) -> None:
        super().__init__()
        layer = nn.Linear(4, 2)
        nn.init.zeros_(layer.weight[0])
        self.layer = torch.compile(layer, backend="eager") if compiled else layer

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        return self.layer(batch[0]).square().mean()

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.0)


def fit(model: L.LightningModule, *callbacks: L.Callback, epochs: int = 1, **options: Any) -> Any:
    trainer = L.Trainer(
        accelerator="cpu",
        max_epochs=epochs,
        callbacks=list(callbacks),
        enable_progress_bar=False,
        enable_model_summary=False,
        **{"logger": False, "enable_checkpointing": False, **options},
    )
    trainer.fit(model, DataLoader(TensorDataset(torch.randn(4, 4)), batch_size=2))
    return trainer


@pytest.mark.parametrize("compiled", [False, True])
def test_weights_are_logged_by_their_plain_names(compiled: bool) -> None:
    metrics = fit(Net(compiled=compiled), SparsityMonitor()).callback_metrics
    assert metrics == {"sparsity/layer.weight": 0.5, "sparsity/total": 0.5}


def test_biases_are_logged_on_demand() -> None:
    monitor = SparsityMonitor(min_ndim=1)
    metrics = fit(Net(), monitor).callback_metrics
    assert set(metrics) == {"sparsity/layer.weight", "sparsity/layer.bias", "sparsity/total"}
    assert metrics["sparsity/total"] == pytest.approx(4 / (4 * 2 + 2))
    assert monitor.sparsity is not None
    assert monitor.sparsity.zeros == 4


def test_only_every_nth_epoch_is_measured() -> None:
    class Count(SparsityMonitor):
        def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
            self.sparsity = None
            super().on_train_epoch_end(trainer, pl_module)
            measured.append(self.sparsity is not None)

    measured: list[bool] = []
    fit(Net(), Count(every_n_epochs=2), epochs=5)
    assert measured == [False, True, False, True, False]


def test_a_checkpoint_can_monitor_the_total(tmp_path: Path) -> None:
    checkpoint = ModelCheckpoint(
        tmp_path, monitor="sparsity/total", auto_insert_metric_name=False, mode="max"
    )
    fit(Net(), SparsityMonitor(), checkpoint, enable_checkpointing=True)
    assert checkpoint.best_model_score == 0.5


def test_what_cannot_be_logged_is_warned_of_once_and_trained_on() -> None:
    class Silent(Net):
        def log_dict(self, *args: Any, **kwargs: Any) -> None:
            raise RuntimeError("no logging here")

    with pytest.warns(UserWarning, match=r"SparsityMonitor measures nothing more.*no logging here"):
        trainer = fit(Silent(), SparsityMonitor(), epochs=3)
    assert trainer.current_epoch == 3


@pytest.mark.parametrize(
    ("arguments", "name", "least"),
    [({"every_n_epochs": 0}, "every_n_epochs", 1), ({"min_ndim": -1}, "min_ndim", 0)],
)
def test_arguments_out_of_range_are_refused(
    arguments: dict[str, int], name: str, least: int
) -> None:
    message = f"Expected `{name}` to be an integer of at least {least}, but got {arguments[name]}"
    with pytest.raises(ValueError, match=message):
        SparsityMonitor(**arguments)


class Distilled(Net):
    def __init__(self) -> None:
        super().__init__()
        self.teacher = nn.Linear(4, 2).requires_grad_(False)


def test_a_teacher_can_be_left_out() -> None:
    everything = {"sparsity/layer.weight", "sparsity/teacher.weight", "sparsity/total"}
    assert set(fit(Distilled(), SparsityMonitor()).callback_metrics) == everything
    for options in ({"exclude": ["teacher"]}, {"include": ["layer"]}):
        metrics = fit(Distilled(), SparsityMonitor(**options)).callback_metrics
        assert metrics == {"sparsity/layer.weight": 0.5, "sparsity/total": 0.5}


@pytest.mark.parametrize("argument", ["include", "exclude"])
def test_patterns_that_name_nothing_are_refused_before_the_training(argument: str) -> None:
    monitor = SparsityMonitor(**{argument: ["teachr"]})
    with pytest.raises(ValueError, match=f"`{argument}` to be glob patterns.*mean teacher"):
        fit(Distilled(), monitor)
    with pytest.raises(TypeError, match=f"`{argument}` to be a list of glob patterns"):
        SparsityMonitor(**{argument: "teacher"})
