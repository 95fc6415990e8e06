"""Killed at any point and resumed from any kind of checkpoint, a run ends as the uninterrupted one.

All batches are the same, as an ordinary data loader does not know where in an epoch it was.
"""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import lightning as L
import pytest
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.utilities.exceptions import SIGTERMException
from support.fits import BATCHES, SAFELY, Validated, data, make_trainer
from torch import nn

from lightning_prune.callbacks.distillation.callback import Distillation
from lightning_prune.callbacks.pruning.callback import Pruning
from lightning_prune.compensations import LeastSquares
from lightning_prune.granularities import Channel, Weight
from lightning_prune.schedules import DenseSparseDense, Linear

# The run that goes on saves nothing any more; in mid-epoch, lightning warns that data may repeat.
pytestmark = pytest.mark.filterwarnings(
    "ignore:Be aware that when using `ckpt_path`",
    "ignore:You're resuming from a checkpoint that",
    "ignore:Checkpoint directory .* exists and is not empty",
)

BY_EPOCH = Linear(start_epoch=0, end_epoch=3)
BY_FRACTION = Linear(start=0.1, end=0.9)
BY_STEP = Linear(start_step=2, end_step=14, every=3)


def make(optimizer: str = "AdamW", **options: Any) -> tuple[Validated, Pruning]:
    defaults = {"granularity": Channel(), "schedule": BY_EPOCH}
    return Validated(optimizer), Pruning(0.6, **{**defaults, **options})


def run(model: L.LightningModule, *callbacks: L.Callback, **options: Any) -> None:
    trainer = make_trainer(*callbacks, **options.pop("trainer", {}))
    trainer.fit(model, data(same=True), data(same=True), **options)


def assert_same(
    one: tuple[Validated, Pruning], other: tuple[Validated, Pruning], sparsity: float = 0.6
) -> None:
    assert one[1].pruner is not None
    assert other[1].pruner is not None
    assert one[1].pruner.sparsity == other[1].pruner.sparsity == pytest.approx(sparsity, abs=0.1)
    for a, b in zip(one[1].pruner.masks.kept, other[1].pruner.masks.kept, strict=True):
        assert torch.equal(a, b)
    for a, b in zip(one[0].state_dict().values(), other[0].state_dict().values(), strict=True):
        assert torch.equal(a, b)


class Kill(L.Callback):
    """Does something deadly in a hook, the first time that it runs at or after a batch."""

    def __init__(self, hook: str, batch: int, how: str) -> None:
        self.batch = batch
        self.how = how
        setattr(self, hook, self._kill)

    def _kill(self, trainer: L.Trainer, *_: Any) -> None:
        loop = trainer.fit_loop
        if trainer.sanity_checking or loop.total_batch_idx + 1 < self.batch or self.how == "done":
            return
        how, self.how = self.how, "done"
        if how == "SIGTERM":
            os.kill(os.getpid(), signal.SIGTERM)
        else:
            raise {"exception": RuntimeError("killed"), "Ctrl-C": KeyboardInterrupt()}[how]


class SaveOnException(L.Callback):
    def __init__(self, path: Path) -> None:
        self.path = path

    def on_exception(self, trainer: L.Trainer, *_: Any) -> None:
        trainer.save_checkpoint(self.path)


@pytest.fixture
def _own_signals() -> Any:
    """Lightning ignores Ctrl-C once it saw one."""
    before = {s: signal.getsignal(s) for s in (signal.SIGINT, signal.SIGTERM)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


KILLED = (RuntimeError, SIGTERMException, SystemExit, KeyboardInterrupt)


def killed(folder: Path, save: L.Callback, kill: Kill, *mine: Any) -> None:
    with pytest.raises(KILLED):
        run(*mine, save, kill, trainer={"enable_checkpointing": True})


CHECKPOINTS = {
    "epoch end": {"every_n_epochs": 1, "save_on_train_epoch_end": True},
    "validation end": {"every_n_epochs": 1, "save_on_train_epoch_end": False},
    "mid-epoch": {"every_n_train_steps": 3},
    "last batch": {"every_n_train_steps": BATCHES},
}
POINTS = [("on_train_batch_start", 10, "exception"), ("on_train_batch_end", 9, "SIGTERM")]


@pytest.mark.usefixtures("_own_signals")
@pytest.mark.parametrize("kill", POINTS, ids=lambda p: p[2])
@pytest.mark.parametrize(
    "options",
    [
        {"score_every": 3},
        {"schedule": BY_STEP, "granularity": Weight()},
        {"compensation": LeastSquares()},
    ],
    ids=str,
)
@pytest.mark.parametrize("when", CHECKPOINTS)
def test_resumed_from_the_last_checkpoint(
    when: str, options: dict[str, Any], kill: Any, tmp_path: Path
) -> None:
    whole, first, second = make(**options), make(**options), make(**options)
    run(*whole)
    save = ModelCheckpoint(
        tmp_path, filename="x", **CHECKPOINTS[when], enable_version_counter=False
    )
    killed(tmp_path, save, Kill(*kill), *first)
    run(*second, ckpt_path=tmp_path / "x.ckpt", **SAFELY)
    assert_same(whole, second)


@pytest.mark.usefixtures("_own_signals")
@pytest.mark.parametrize("start_epoch", [0, 2])
@pytest.mark.parametrize("when", CHECKPOINTS)
def test_a_resumed_run_has_the_same_teacher(when: str, start_epoch: int, tmp_path: Path) -> None:
    plain = make()
    whole, first, second = ((*make(), Distillation(start_epoch=start_epoch)) for _ in range(3))
    run(*plain)
    run(*whole)
    save = ModelCheckpoint(
        tmp_path, filename="x", **CHECKPOINTS[when], enable_version_counter=False
    )
    killed(tmp_path, save, Kill("on_train_batch_start", 10, "exception"), *first)
    assert "training_step" not in vars(first[0])
    run(*second, ckpt_path=tmp_path / "x.ckpt", **SAFELY)
    assert_same(whole[:2], second[:2])
    taught, dense = (one[2].state_dict()["dense"] for one in (whole, second))
    assert all(torch.equal(taught[name], dense[name]) for name in taught)
    pairs = zip(whole[0].parameters(), plain[0].parameters(), strict=True)
    assert not all(torch.equal(a, b) for a, b in pairs)


@pytest.mark.usefixtures("_own_signals")
@pytest.mark.parametrize("batch", [9, 10], ids=lambda n: f"{n - 8} steps after the release")
@pytest.mark.parametrize("when", ["epoch end", "each step"])
def test_what_is_released_is_the_same_in_a_resumed_run(
    when: str, batch: int, tmp_path: Path
) -> None:
    schedule = DenseSparseDense(start_epoch=1, end_epoch=2)
    whole, first, second = (make(schedule=schedule) for _ in range(3))
    run(*whole)
    options = {"each step": {"every_n_train_steps": 1}, **CHECKPOINTS}[when]
    save = ModelCheckpoint(tmp_path, filename="x", **options, enable_version_counter=False)
    killed(tmp_path, save, Kill("on_train_batch_start", batch + 1, "exception"), *first)
    assert first[1].pruner is not None
    assert first[1].pruner.sparsity == 0.0
    run(*second, ckpt_path=tmp_path / "x.ckpt", **SAFELY)
    assert_same(whole, second, sparsity=0.0)


@pytest.mark.usefixtures("_own_signals")
@pytest.mark.parametrize(
    "kill",
    [
        ("on_train_batch_start", 6, "exception"),
        ("on_train_batch_start", 8, "exception"),
        ("on_train_batch_start", 6, "Ctrl-C"),
        ("on_before_backward", 6, "Ctrl-C"),
        ("on_after_backward", 6, "exception"),
        ("on_before_optimizer_step", 6, "exception"),
        ("on_train_batch_start", 6, "SIGTERM"),
        ("on_train_batch_start", 8, "SIGTERM"),
        ("on_train_batch_start", 11, "SIGTERM"),
    ],
    ids=lambda kill: f"{kill[2]} in {kill[0]} {kill[1]}",
)
def test_resumed_from_where_it_was_killed(kill: Any, tmp_path: Path) -> None:
    whole, first, second = make(), make(), make()
    for model, _ in (whole, first, second):
        model.body[1] = nn.Identity()  # batch norm would count the broken batch twice
    run(*whole)
    killed(tmp_path, SaveOnException(tmp_path / "x.ckpt"), Kill(*kill), *first)
    run(*second, ckpt_path=tmp_path / "x.ckpt", **SAFELY)
    assert_same(whole, second)


def test_fractions_of_a_training_are_resumed_in_one_of_the_same_length(tmp_path: Path) -> None:
    options = {"schedule": BY_FRACTION, "granularity": Weight()}
    whole, first, second, longer = (make(**options) for _ in range(4))
    run(*whole)
    assert whole[1].schedule == Linear(start_step=2, end_step=14, every=1)
    save = ModelCheckpoint(tmp_path, filename="x", every_n_train_steps=3)
    killed(tmp_path, save, Kill("on_train_batch_start", 8, "exception"), *first)
    run(*second, ckpt_path=tmp_path / "x.ckpt", **SAFELY)
    assert_same(whole, second)
    with pytest.raises(ValueError, match=r"got schedule=.*end_step=29.* of the same length"):
        run(*longer, ckpt_path=tmp_path / "x.ckpt", trainer={"epochs": 8}, **SAFELY)
