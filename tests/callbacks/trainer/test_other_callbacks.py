"""Averages of weights are sparse, and early stopping waits for the last update if asked to."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import lightning as L
import pytest
import torch
from lightning.pytorch.callbacks import EarlyStopping, ModelCheckpoint, StochasticWeightAveraging
from support.fits import Validated, data, fit, make_trainer, zeros

from lightning_prune.callbacks.pruning.callback import Pruning
from lightning_prune.callbacks.trainer.other_callbacks import (
    averaged_modules,
    restart_early_stopping,
)
from lightning_prune.granularities import Weight
from lightning_prune.schedules import Linear, OneShot

averaging = pytest.importorskip("lightning.pytorch.callbacks.weight_averaging")

AVERAGES = {
    "mean": lambda: averaging.WeightAveraging(),
    "EMA": lambda: averaging.EMAWeightAveraging(decay=0.9),
    "late EMA": lambda: averaging.EMAWeightAveraging(update_starting_at_epoch=3),
    "SWA": lambda: StochasticWeightAveraging(swa_lrs=0.01, swa_epoch_start=2),
}


class Look(L.Callback):
    """Notes which averages a trainer has, and the share of zeros that validation sees."""

    def __init__(self) -> None:
        self.averages: list[Any] = []
        self.zeros: list[float] = []

    def on_train_epoch_start(self, trainer: L.Trainer, pl_module: Any) -> None:
        self.averages = averaged_modules(trainer)

    def on_validation_batch_start(self, trainer: L.Trainer, pl_module: Any, *_: Any) -> None:
        weight = pl_module.body[3].weight
        self.zeros.append((weight == 0).float().mean().item())


@pytest.mark.parametrize("first", [True, False], ids=["pruning first", "pruning last"])
@pytest.mark.parametrize("average", AVERAGES)
def test_averages_and_their_checkpoints_are_sparse(
    average: str, first: bool, tmp_path: Path
) -> None:
    schedule = Linear(start_epoch=0, end_epoch=3)
    pruning = Pruning(0.5, granularity=Weight(), include=["body.3"], schedule=schedule)
    callbacks = [pruning, AVERAGES[average]()]
    look = Look()
    save = ModelCheckpoint(tmp_path, filename="{epoch}", save_top_k=-1)
    trainer = make_trainer(
        *(callbacks if first else callbacks[::-1]), look, save, enable_checkpointing=True, epochs=5
    )
    model = Validated("momentum")
    trainer.fit(model, data(), data())
    assert [type(module) for module in look.averages] == [Validated]
    assert zeros(model, pruning).float().mean().item() == pytest.approx(0.5, abs=0.01)
    for epoch, share in ((2, 1 / 3), (3, 1 / 2), (4, 1 / 2)):
        state = torch.load(tmp_path / f"epoch={epoch}.ckpt", weights_only=True)
        for key in {"state_dict", "current_model_state"} & state.keys():
            stored = (state[key]["body.3.weight"] == 0).float().mean().item()
            assert stored == pytest.approx(share, abs=0.01)
    assert look.zeros[-1] == pytest.approx(0.5, abs=0.01)


class Getting(L.Callback):
    """Logs a score for every epoch."""

    def __init__(self, *scores: float) -> None:
        self.scores = scores

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        pl_module.log("score", self.scores[trainer.current_epoch])


# Best before the update in epoch 4, then a dip, a recovery, and nothing new from epoch 6 on.
SCORES = (0.7, 0.8, 0.8, 0.8, 0.5, 0.6, 0.7, 0.7, 0.7, 0.7, 0.7)


@pytest.mark.filterwarnings("ignore:.*to reach sparsity 0.5")
@pytest.mark.parametrize(
    ("restart", "epochs"),
    [
        # 0.8 in epoch 1 was the last improvement.
        pytest.param(False, 1 + 2 + 1, id="stops before the update"),
        # 0.7 in epoch 6 was the last improvement since the update.
        pytest.param(True, 6 + 2 + 1, id="waits"),
    ],
)
@pytest.mark.parametrize("first", [True, False])
def test_the_dip_does_not_stop_the_training(restart: bool, epochs: int, first: bool) -> None:
    stop = EarlyStopping("score", mode="max", patience=2, check_on_train_epoch_end=True)
    pruning = Pruning(
        0.5, granularity=Weight(), schedule=OneShot(epoch=4), restart_early_stopping=restart
    )
    callbacks = [pruning, stop] if first else [stop, pruning]
    trainer = fit(Validated.__base__(), Getting(*SCORES), *callbacks, epochs=11)
    assert trainer.current_epoch == epochs


@pytest.mark.parametrize(("mode", "worst"), [("min", torch.inf), ("max", -torch.inf)])
def test_a_restart_forgets_the_best_and_the_patience(mode: str, worst: float) -> None:
    stop = EarlyStopping("score", mode=mode)
    stop.wait_count, stop.best_score = 7, torch.tensor(0.5)
    restart_early_stopping(make_trainer(stop))
    assert (stop.wait_count, stop.best_score.item()) == (0, worst)
