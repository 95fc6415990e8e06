"""Checkpoints mean what they say: metric = weights, and what is compacted is what was asked for."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import lightning as L
import pytest
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from support.fits import SAFELY, Validated, data, make_trainer
from torch import nn

import lightning_prune as lp
from lightning_prune.schedules import Linear, OneShot

averaging = pytest.importorskip("lightning.pytorch.callbacks.weight_averaging")
pytestmark = pytest.mark.filterwarnings("ignore:Be aware that when using `ckpt_path`")

CHECKPOINTS = {
    "monitor": {"monitor": "val_loss"},
    "epoch end": {"save_on_train_epoch_end": True},
    "weights only": {"save_weights_only": True},
    "save_last": {"save_last": True},
}
SCHEDULES = {
    "epochs": Linear(start_epoch=0, end_epoch=3),
    "steps": Linear(start_step=1, end_step=13, every=3),
}


class Noted(Validated):
    """Notes ``val_loss`` after every step at which it was validated."""

    def __init__(self) -> None:
        super().__init__("momentum")
        self.noted: dict[int, float] = {}

    def on_validation_epoch_end(self) -> None:
        self.noted[self.trainer.global_step] = self.trainer.callback_metrics["val_loss"].item()


def loss_on_test(model: L.LightningModule, **options: Any) -> float:
    (result,) = make_trainer().test(model, data(), verbose=False, **options)
    return float(result["test_loss"])


@pytest.mark.parametrize("average", [False, True], ids=["", "EMA"])
@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize("kind", CHECKPOINTS)
def test_a_metric_belongs_to_the_weights_of_its_checkpoint(
    kind: str, schedule: str, average: bool, tmp_path: Path
) -> None:
    if average and kind == "weights only":
        pytest.skip("lightning then stores the weights in training, not their averages")
    pruning = lp.Pruning(0.5, schedule=SCHEDULES[schedule])
    save = ModelCheckpoint(
        tmp_path, filename="{step}-{val_loss:.6f}", save_top_k=-1, **CHECKPOINTS[kind]
    )
    ema = [averaging.EMAWeightAveraging(decay=0.5)] if average else []
    model = Noted()
    trainer = make_trainer(pruning, *ema, save, enable_checkpointing=True, val_check_interval=2)
    trainer.fit(model, data(), data())
    paths = list(tmp_path.glob("*.ckpt"))
    assert len(paths) >= 4
    for path in paths:
        step = torch.load(path, weights_only=False)["global_step"]
        found = loss_on_test(Validated(), ckpt_path=path, **SAFELY)
        assert found == pytest.approx(model.noted[step], rel=1e-5)


def compacted(tmp_path: Path) -> tuple[Validated, L.Trainer]:
    """Train, prune in epochs 1 and 2, compact."""
    save = ModelCheckpoint(tmp_path, filename="{epoch}", save_top_k=-1)
    pruning = lp.Pruning(0.5, schedule=Linear(start_epoch=0, end_epoch=2))
    trainer = make_trainer(
        lp.Compaction(latency=False), save, pruning, epochs=5, enable_checkpointing=True
    )
    model = Validated("momentum")
    trainer.fit(model, data(), data())
    return model, trainer


def test_sparse_checkpoints_load_into_the_compact_model(tmp_path: Path) -> None:
    model, trainer = compacted(tmp_path)
    assert model.body[0].out_channels + model.body[3].out_channels < 8 + 6
    shape = model.body[3].weight.shape
    for path in (tmp_path / f"epoch={epoch}.ckpt" for epoch in (2, 3, 4)):
        dense = loss_on_test(Validated(), ckpt_path=path)
        (result,) = trainer.test(model, data(), ckpt_path=path, verbose=False)
        assert result["test_loss"] == pytest.approx(dense, rel=1e-5)
        assert model.body[3].weight.shape == shape
    small = trainer.test(model, data(), ckpt_path=None, verbose=False)
    trainer.save_checkpoint(tmp_path / "compact.ckpt")
    assert trainer.test(model, data(), ckpt_path=tmp_path / "compact.ckpt", verbose=False) == small


def test_best_of_all_is_loaded_where_its_zeros_allow(tmp_path: Path) -> None:
    model, trainer = compacted(tmp_path)
    assert trainer.checkpoint_callback is not None
    trainer.checkpoint_callback.best_model_path = str(tmp_path / "epoch=3.ckpt")
    (result,) = trainer.test(model, data(), ckpt_path="best", verbose=False)
    dense = loss_on_test(Validated(), ckpt_path=tmp_path / "epoch=3.ckpt")
    assert result["test_loss"] == pytest.approx(dense, rel=1e-5)


def test_a_denser_checkpoint_is_refused_and_forgotten(tmp_path: Path) -> None:
    model, trainer = compacted(tmp_path)
    before = trainer.test(model, data(), verbose=False)
    with pytest.raises(ValueError, match=r"to have its zeros where .* but got body\.\d\.weight"):
        trainer.test(model, data(), ckpt_path=tmp_path / "epoch=0.ckpt", verbose=False)
    assert trainer.test(model, data(), verbose=False) == before
    trainer.test(Validated(), data(), ckpt_path=tmp_path / "epoch=0.ckpt", verbose=False)


def test_a_training_does_not_go_on_in_another_size(tmp_path: Path) -> None:
    model, trainer = compacted(tmp_path)
    trainer = make_trainer(lp.Compaction(latency=False), epochs=9)
    with pytest.raises(ValueError, match="checkpoint in the size of the model, but got body"):
        trainer.fit(model, data(), data(), ckpt_path=tmp_path / "epoch=4.ckpt")


class Losses(Validated):
    """Logs given losses as ``val_loss`` in place of its own."""

    def __init__(self, *losses: float) -> None:
        super().__init__("momentum")
        self.losses = losses

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        if not self.trainer.sanity_checking:
            self.log("val_loss", self.losses[self.trainer.current_epoch])


class Keep(L.Callback):
    """Keeps the weights of each epoch that was validated."""

    def __init__(self) -> None:
        self.kept: list[dict[str, torch.Tensor]] = []

    def on_validation_batch_start(
        self, trainer: L.Trainer, pl_module: Any, batch: Any, batch_idx: int, *_: Any
    ) -> None:
        if not trainer.sanity_checking and batch_idx == 0:
            self.kept.append({n: t.clone() for n, t in pl_module.state_dict().items()})


# The update is in epoch 2: epoch 1 is the best of all, epoch 3 the best after it.
LOSSES = (0.5, 0.1, 0.9, 0.3, 0.4)


@pytest.mark.parametrize("average", [False, True], ids=["", "EMA"])
@pytest.mark.parametrize("resumed", [False, True], ids=["", "resumed"])
def test_the_best_weights_at_the_target_are_compacted(
    resumed: bool, average: bool, tmp_path: Path, capsys: Any
) -> None:
    def callbacks() -> tuple[lp.Compaction, list[L.Callback]]:
        compaction = lp.Compaction(monitor="val_loss", latency=False)
        ema = [averaging.EMAWeightAveraging(decay=0.5)] if average else []
        pruning = lp.Pruning(0.5, granularity=lp.Channel(), schedule=OneShot(epoch=2))
        return compaction, [compaction, *ema, pruning]

    keep = Keep()
    compaction, mine = callbacks()
    save = ModelCheckpoint(tmp_path, filename="{epoch}", save_top_k=-1)
    model = Losses(*LOSSES)
    make_trainer(*mine, keep, save, epochs=5, enable_checkpointing=True).fit(model, data(), data())
    if resumed:
        compaction, mine = callbacks()
        model = Losses(*LOSSES)
        make_trainer(*mine, epochs=5).fit(
            model, data(), data(), ckpt_path=tmp_path / "epoch=3.ckpt", **SAFELY
        )
    assert "compacting the weights of step 16, the best at this sparsity: val_loss 0.3" in (
        capsys.readouterr().out
    )
    expected = Validated()
    expected.load_state_dict(keep.kept[3])
    x = torch.randn(2, 2, 6, 6)
    with torch.no_grad():
        assert torch.allclose(model.eval()(x), expected.eval()(x), atol=1e-6)
    assert compaction.report is not None
    assert compaction.report.removed > 0


@pytest.mark.filterwarnings("ignore:Expected `pruning` to reach", "ignore:Expected a validation")
@pytest.mark.parametrize("epochs", [4, 7], ids=["at the end", "before"])
def test_weights_of_masks_that_were_taken_back_are_not_compacted(epochs: int) -> None:
    """Half of the sparsity is good in epoch 2, all of it is too much in epoch 3."""
    losses = (0.5, 0.4, 0.45, 0.9, 0.5, 0.42, 0.43)
    pruning = lp.Pruning(0.6, lp.Magnitude(), schedule=lp.Steps(epochs={2: 0.5, 3: 1.0}))
    guard = lp.AccuracyGuard("val_loss", 0.2, mode="min", patience=1, action="stop")
    compaction = lp.Compaction(monitor="val_loss", latency=False)
    model = Losses(*losses)
    make_trainer(pruning, guard, compaction, epochs=epochs).fit(model, data(), data())
    assert pruning.pruner is not None
    assert pruning.pruner.sparsity == pytest.approx(0.3, abs=0.1)
    kept = [int(mask.sum()) for mask in pruning.pruner.masks.kept]
    assert kept == [model.body[0].out_channels, model.body[3].out_channels]


class Adapted(Losses):
    """An adapter that starts from zero is trained from epoch 1 on."""

    def __init__(self, *losses: float) -> None:
        super().__init__(*losses)
        self.adapter = nn.Linear(72, 30, bias=False).requires_grad_(False)
        self.out = nn.Linear(30, 3)
        nn.init.zeros_(self.adapter.weight)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return super().forward(x) + self.out(self.adapter(x.flatten(1)))

    def on_train_epoch_start(self) -> None:
        self.adapter.requires_grad_(self.current_epoch >= 1)


def test_adapters_that_start_from_zero_do_not_make_weights_sparse() -> None:
    compaction = lp.Compaction(monitor="val_loss", latency=False)
    pruning = lp.Pruning(0.5, lp.Magnitude(), include=["body.*"], schedule=OneShot(epoch=2))
    model = Adapted(*LOSSES)
    make_trainer(pruning, compaction, epochs=5).fit(model, data(), data())
    assert model.adapter.weight.all()
    assert model.body[0].weight.shape[0] < 8


def test_a_metric_that_nobody_logs_is_named() -> None:
    trainer = make_trainer(lp.Compaction(monitor="acc", latency=False), num_sanity_val_steps=0)
    with pytest.raises(ValueError, match=r"logs, but got 'acc'\. There are: val_loss"):
        trainer.fit(Validated(), data(), data())


def test_without_a_validation_at_the_target_the_last_weights_are_compacted() -> None:
    compaction = lp.Compaction(monitor="val_loss", latency=False)
    pruning = lp.Pruning(0.5, schedule=OneShot(epoch=3))
    trainer = make_trainer(pruning, compaction, check_val_every_n_epoch=3)
    with pytest.warns(UserWarning, match="a validation with `val_loss` under the masks in force"):
        trainer.fit(Validated(), data(), data())
    assert compaction.report is not None
    assert compaction.report.removed > 0
