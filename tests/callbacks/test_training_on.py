"""Compacted, saved, loaded and trained on, a model is the same as without the detour.

So it is when the run was killed before the compaction, or after it in the second training.
"""

from __future__ import annotations

import copy
import itertools
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import lightning as L
import pytest
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from support import training_on
from support.fits import BATCHES, SAFELY
from support.training_on import FIRST, NETS, OPTIMIZERS, fit, train_in_memory, train_on
from torch import Tensor, nn

import lightning_prune as lp

# `Pruning` has done its work; in mid-epoch, lightning warns that data may repeat.
pytestmark = pytest.mark.filterwarnings(
    "ignore:Be aware that when using `ckpt_path`",
    "ignore:You're resuming from a checkpoint that",
    "ignore:Checkpoint directory .* exists and is not empty",
    "ignore:The optimizer's state of some parameters could not be cut",  # LBFGS
)

SCHEDULES: dict[str, lp.Schedule] = {
    "epochs": lp.Linear(start_epoch=0, end_epoch=2),
    "steps": lp.Cubic(start_step=2, end_step=9, every=2),
}
GRANULARITIES: dict[str, tuple[str, lp.Granularity]] = {
    "channels": ("convolutions", lp.Channel()),
    "rounded channels": ("convolutions", lp.Channel(round_to=2)),
    "channels under a correction": ("corrected", lp.Channel()),
    "channels of a stream": ("stream", lp.Channel()),
    "layers of a stream": ("stream", lp.Layer()),
}
State = dict[str, Tensor]


class Case:
    """One run up to its compaction, with checkpoints of it."""

    def __init__(self, folder: Path, optimizer: str, schedule: str, granularity: str) -> None:
        net, self.granularity = GRANULARITIES[granularity]
        self.folder, self.schedule = folder, SCHEDULES[schedule]
        self.make: Callable[[], L.LightningModule] = lambda: NETS[net](optimizer)
        self.model, self.path = self.make(), folder / f"{net}-{optimizer}.ckpt"
        self.trainer = self.compact(self.model, self.saving("before", every_n_train_steps=7))
        self.trainer.save_checkpoint(self.path)
        self.compacted = _copied(self.model)

    def compact(self, model: L.LightningModule, *more: L.Callback, **options: Any) -> L.Trainer:
        pruning = lp.Pruning(0.5, schedule=self.schedule, granularity=self.granularity)
        compaction = lp.Compaction(latency=False)
        trainer = {"epochs": FIRST, "enable_checkpointing": bool(more)}
        made = fit(model, pruning, compaction, *more, trainer=trainer, **options)
        assert compaction.report is not None
        assert compaction.report.removed > 0
        return made

    def saving(self, name: str, **when: Any) -> ModelCheckpoint:
        return ModelCheckpoint(self.folder, filename=name, enable_version_counter=False, **when)

    def in_memory(self) -> State:
        train_in_memory(self.trainer, self.model)
        return _copied(self.model)


def _copied(model: nn.Module) -> State:
    return copy.deepcopy(model.state_dict())


def assert_same(one: State, other: State) -> None:
    assert one.keys() == other.keys()
    for name, tensor in one.items():
        assert torch.equal(tensor, other[name]), name


def into_full_size(case: Case) -> State:
    model = case.make()
    train_on(model, case.path)
    return _copied(model)


def into_the_compact_one(case: Case) -> State:
    model = lp.load_compact(case.make(), case.path)
    train_on(model, case.path)
    return _copied(model)


def from_the_second_training(**when: Any) -> Callable[[Case], State]:
    def resumed(case: Case) -> State:
        save = case.saving("second", **when)
        train_on(case.make(), case.path, save)
        model = case.make()
        train_on(model, case.folder / "second.ckpt")
        return _copied(model)

    return resumed


MOMENTS: dict[str, Callable[[Case], State]] = {
    "after the fit, into full size": into_full_size,
    "after the fit, into the compact one": into_the_compact_one,
    "second training, mid-epoch": from_the_second_training(every_n_train_steps=BATCHES - 1),
    "second training, epoch end": from_the_second_training(
        every_n_epochs=1, save_on_train_epoch_end=True
    ),
}


def check(case: Case, moments: Any = MOMENTS) -> None:
    assert case.trainer.global_step == FIRST * BATCHES
    found = {moment: MOMENTS[moment](case) for moment in moments}
    expected = case.in_memory()
    assert any(not torch.equal(t, expected[name]) for name, t in case.compacted.items())
    for state in found.values():
        assert_same(state, expected)


@pytest.mark.parametrize("optimizer", ["momentum", "Adam", "AdamW", "RMSprop"])
def test_a_compact_model_trains_on_as_without_the_detour(optimizer: str, tmp_path: Path) -> None:
    check(Case(tmp_path, optimizer, "epochs", "channels"), [*MOMENTS][:1])


def _mixed() -> list[tuple[str, str, str]]:
    """Every optimizer with every other granularity, and with both schedules."""
    pairs = itertools.product(enumerate(OPTIMIZERS), enumerate(GRANULARITIES))
    return [
        (optimizer, [*SCHEDULES][(row // 2 + column) % 2], granularity)
        for (row, optimizer), (column, granularity) in pairs
        if (row + column) % 4 == 1
    ]


@pytest.mark.slow
@pytest.mark.parametrize(("optimizer", "schedule", "granularity"), _mixed())
def test_every_checkpoint_goes_on_to_the_same_weights(
    optimizer: str, schedule: str, granularity: str, tmp_path: Path
) -> None:
    """Five moments each: one before the compaction, four after it."""
    case = Case(tmp_path, optimizer, schedule, granularity)
    again = case.make()
    case.compact(again, ckpt_path=tmp_path / "before.ckpt", **SAFELY)
    assert_same(_copied(again), case.compacted)
    check(case)


@pytest.mark.slow
def test_another_process_trains_on_to_the_same_weights(tmp_path: Path) -> None:
    optimizers = ("momentum", "Adam", "AdamW", "RMSprop")
    cases = [
        Case(tmp_path, optimizer, "epochs", granularity)
        for optimizer in optimizers
        for granularity in ("channels", "channels under a correction", "channels of a stream")
    ]
    (tmp_path / "before.ckpt").unlink()
    subprocess.run(
        [sys.executable, training_on.__file__, str(tmp_path)],
        check=True,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
    )
    for case in cases:
        assert_same(torch.load(case.path.with_suffix(".pt")), case.in_memory())
