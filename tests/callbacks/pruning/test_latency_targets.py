"""A target of latency in a fit: every update measures, and the last one reaches what was asked."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import lightning as L
import pytest
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from support.clocks import CountingClock
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

import lightning_prune as lp
from lightning_prune.errors import TargetError
from lightning_prune.pruning.latency import prices, search


class Net(L.LightningModule):
    """A perceptron with wide layers."""

    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(
            nn.Linear(8, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 3)
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x)

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        return self(batch[0]).square().mean()

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.05)


def batches() -> DataLoader[Any]:
    x = torch.randn(8, 8, generator=torch.Generator().manual_seed(0))
    return DataLoader(TensorDataset(x), batch_size=4)


def fit(*callbacks: L.Callback, epochs: int = 4, **options: Any) -> L.Trainer:
    torch.manual_seed(0)
    trainer = L.Trainer(
        accelerator="cpu",
        max_epochs=epochs,
        callbacks=list(callbacks),
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        enable_checkpointing=any(isinstance(one, ModelCheckpoint) for one in callbacks),
    )
    trainer.fit(Net(), batches(), **options)
    return trainer


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> CountingClock:
    counting = CountingClock(fixed_ms=1.0)
    monkeypatch.setattr(search, "clock_of", lambda _: counting)
    monkeypatch.setattr(prices, "cached_times", lambda *_: {})  # priced by multiply-adds
    return counting


def test_half_of_the_milliseconds_go_step_by_step(clock: CountingClock) -> None:
    reached: list[float] = []

    class Watch(L.Callback):
        def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
            reached.append(pruning.report.sparsity if pruning.report else 0.0)

    schedule = lp.Linear(start_epoch=1, end_epoch=3)
    pruning = lp.Pruning(0.5, of="latency", schedule=schedule)
    trainer = fit(pruning, Watch())
    assert reached == sorted(reached)
    assert reached[-1] == pytest.approx(0.5, abs=0.02)
    model = trainer.lightning_module
    before = clock.ms(model, lp_inputs())
    lp.compact(model, torch.zeros(4, 8), latency=False)
    assert before / clock.ms(model, lp_inputs()) == pytest.approx(2.0, rel=0.03)
    assert trainer.callback_metrics["pruning/sparsity"].item() == pytest.approx(reached[-1])


def lp_inputs() -> Any:
    return (torch.zeros(4, 8),)


def test_milliseconds_are_reached_in_a_fit(clock: CountingClock) -> None:
    asked_ms = clock.ms(Net(), lp_inputs()) / 2
    pruning = lp.Pruning(latency_ms=asked_ms, schedule=lp.OneShot(epoch=1))
    trainer = fit(pruning)
    model = trainer.lightning_module
    lp.compact(model, torch.zeros(4, 8), latency=False)
    assert clock.ms(model, lp_inputs()) == pytest.approx(asked_ms, rel=0.03)


@pytest.mark.usefixtures("clock")
def test_what_is_out_of_reach_is_refused_with_the_first_batch() -> None:
    with pytest.raises(TargetError, match="Expected `latency_ms` to be at least"):
        fit(lp.Pruning(latency_ms=1e-3))


@pytest.mark.filterwarnings("ignore:You're resuming from a checkpoint that", "ignore:Be aware that")
@pytest.mark.usefixtures("clock")
def test_a_resumed_run_knows_what_was_reached(tmp_path: Path) -> None:
    def pruning() -> lp.Pruning:
        return lp.Pruning(0.5, of="latency", schedule=lp.Linear(start_epoch=1, end_epoch=3))

    whole, second = pruning(), pruning()
    fit(whole, ModelCheckpoint(tmp_path, filename="{epoch}", save_top_k=-1))
    fit(second, ckpt_path=tmp_path / "epoch=2.ckpt")
    assert second.report is not None
    assert whole.report is not None
    assert second.report.groups == whole.report.groups


@pytest.mark.usefixtures("clock")
def test_a_pruner_of_ones_own_loop_takes_milliseconds_too() -> None:
    model = Net().net
    x = torch.randn(4, 8)
    pruner = lp.Pruner(model, x, sparsity=0.5, of="latency", schedule=lp.OneShot(epoch=1))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    pruner.attach(optimizer)
    for epoch in range(2):
        pruner.step(epoch)
        model(x).square().mean().backward()
        optimizer.step()
        optimizer.zero_grad()
    assert pruner.sparsity == pytest.approx(0.5, abs=0.02)
    assert pruner.finish(latency=False).params_after < 0.7 * sum(
        p.numel() for p in Net().parameters()
    )
