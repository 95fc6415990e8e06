"""A pruner is made as soon as there are inputs, and widened when layers are unfrozen."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import lightning as L
import pytest
import torch
from lightning.pytorch.callbacks import (
    BackboneFinetuning,
    BaseFinetuning,
    EarlyStopping,
    ModelCheckpoint,
)
from support.fits import Net, Validated, Watch, data, fit, make_trainer
from torch import Tensor, nn

from lightning_prune.callbacks.pruning.binding import Binding
from lightning_prune.callbacks.pruning.callback import Pruning
from lightning_prune.errors import TargetError
from lightning_prune.granularities import Channel, Weight
from lightning_prune.schedules import Linear, OneShot


class Late(Net):
    """Its backbone is frozen until BackboneFinetuning unfreezes it."""

    def __init__(self) -> None:
        super().__init__("momentum")
        self.backbone = self.body

    def configure_optimizers(self) -> Any:
        trainable = [p for p in self.parameters() if p.requires_grad]
        return torch.optim.SGD(trainable, lr=0.1, momentum=0.9)


class LateValidated(Late, Validated):
    """The same with a validation."""


class TwoLayerHead(Late):
    """The same with two layers in its head, whose hidden units may go while the rest is frozen."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 3))


class Zeros(L.Callback):
    """Counts the zeros in the head after every step, and those that did not stay zero."""

    def __init__(self) -> None:
        self.counts: list[int] = []
        self.revived = 0
        self._before: Tensor | None = None

    def on_train_batch_end(self, trainer: L.Trainer, pl_module: Any, *_: Any) -> None:
        zero = torch.cat([(pl_module.head[i].weight == 0).flatten() for i in (0, 2)])
        if self._before is not None:
            self.revived += int((self._before & ~zero).sum())
        self._before = zero
        self.counts.append(int(zero.sum()))


def unfreeze(epoch: int) -> BackboneFinetuning:
    return BackboneFinetuning(
        unfreeze_backbone_at_epoch=epoch, backbone_initial_lr=0.01, train_bn=False
    )


@pytest.mark.filterwarnings("ignore:`pruning` skips its update at epoch [12]")
@pytest.mark.parametrize("first", [True, False], ids=["pruning first", "pruning last"])
@pytest.mark.parametrize("granularity", [Weight(), Channel()], ids=str)
def test_layers_unfrozen_before_the_last_update_join_in(granularity: Any, first: bool) -> None:
    model = Late()
    schedule = Linear(start_epoch=0, end_epoch=4)
    include = None if granularity == Weight() else ["body.0", "body.3"]
    pruning = Pruning(0.5, granularity=granularity, schedule=schedule, include=include)
    watch = Watch(pruning) if granularity == Weight() else None
    callbacks = [pruning, unfreeze(2)] if first else [unfreeze(2), pruning]
    fit(model, *callbacks, *([watch] if watch else []), epochs=6)
    assert pruning.report is not None
    assert pruning.report.sparsity == pytest.approx(0.5, abs=0.1)
    assert {g.name for g in pruning.report.groups} >= (
        {"body.0.weight", "body.3.weight", "head.weight"} if watch else {"body.0", "body.3"}
    )
    if watch:
        assert watch.revived == 0
        # Half of the head's 18 weights go by epoch 2; from then on all 594 are counted.
        assert watch.seen[4 * 1] == pytest.approx(0.125, abs=1 / 18)
        assert watch.seen[-1] == pytest.approx(0.5, abs=1 / 594)


def test_layers_unfrozen_after_the_last_update_stay_as_they_are() -> None:
    model = Late()
    pruning = Pruning(0.5, granularity=Weight(), schedule=OneShot(epoch=1))
    fit(model, pruning, unfreeze(2))
    assert pruning.report is not None
    assert [g.name for g in pruning.report.groups] == ["head.weight"]
    assert model.body[3].weight.all()


@pytest.mark.filterwarnings(
    "ignore:Be aware that when using `ckpt_path`",
)
@pytest.mark.parametrize("end", [1, 4], ids=["unfrozen after", "unfrozen before"])
def test_a_resumed_run_has_the_groups_of_its_checkpoint(end: int, tmp_path: Path) -> None:
    def make() -> tuple[Pruning, BackboneFinetuning]:
        schedule = OneShot(epoch=1) if end == 1 else Linear(start_epoch=0, end_epoch=4)
        return Pruning(0.5, granularity=Weight(), schedule=schedule), unfreeze(2)

    whole, resumed = make(), make()
    save = ModelCheckpoint(tmp_path, filename="{epoch}", save_top_k=-1)
    fit(Late(), *whole, save, epochs=6, enable_checkpointing=True)
    make_trainer(*resumed, epochs=6).fit(Late(), data(), ckpt_path=tmp_path / "epoch=3.ckpt")
    assert whole[0].pruner is not None
    assert resumed[0].pruner is not None
    names = [[group.name for group in one[0].pruner.masks.groups] for one in (whole, resumed)]
    assert names[0] == names[1]
    assert len(names[0]) == (1 if end == 1 else 3)


def test_channels_wait_for_a_batch() -> None:
    binding = Binding(Pruning(0.5).recipe, None)
    model: L.LightningModule = Net()
    binding.bind(model, None, widen=True)
    assert binding.pruner is None
    state = binding.state_dict()
    assert not binding.restore(model, None, state)
    with pytest.warns(UserWarning, match="training step of Net .* not attached to a `Trainer`"):
        binding.bind(model, next(iter(data())), widen=True)
    assert binding.pruner is not None
    assert binding.fits(model)
    assert not binding.fits(Net())


@pytest.mark.filterwarnings("ignore:The training step of Net is not coupled")
def test_what_was_trainable_is_known_in_a_resumed_run() -> None:
    model, batch = Net(), next(iter(data()))
    chosen, resumed = (Binding(Pruning(0.5).recipe, batch[0]) for _ in range(2))
    chosen.bind(model, batch, widen=True)
    assert resumed.restore(model, batch, chosen.state_dict())
    assert resumed.trainable == chosen.trainable > 0


def test_layers_that_stay_frozen_are_an_obstacle_when_the_update_is_due() -> None:
    model = Late()
    model.body.requires_grad_(requires_grad=False)
    with pytest.raises(TargetError, match=r"`body\.0\.weight` is frozen"):
        fit(model, Pruning(0.5, schedule=OneShot(epoch=1)))


class WhenStuck(BaseFinetuning):
    """Unfreezes the backbone in place of the first stop of an `EarlyStopping`."""

    def freeze_before_training(self, pl_module: Any) -> None:
        self.freeze(pl_module.backbone)

    def finetune_function(self, pl_module: Any, epoch: int, optimizer: Any) -> None:
        stopping = pl_module.trainer.early_stopping_callback
        if stopping.wait_count >= 2 and len(optimizer.param_groups) == 1:
            stopping.wait_count = 0
            self.unfreeze_and_add_param_group(pl_module.backbone, optimizer, train_bn=False)


@pytest.mark.parametrize("restart", [False, True])
def test_the_last_update_waits_for_a_callback_that_unfreezes(restart: bool) -> None:
    stopping = EarlyStopping("val_loss", patience=3, min_delta=10)
    pruning = Pruning(0.5, schedule=OneShot(epoch=1), restart_early_stopping=restart)
    model, trainer = LateValidated(), make_trainer(pruning, stopping, WhenStuck(), epochs=6)
    with pytest.warns(UserWarning, match="`pruning` waits with its update at epoch 1 until") as got:
        trainer.fit(model, data(), data())
    assert len([one for one in got if "waits" in str(one.message)]) == 1
    assert pruning.report is not None
    assert pruning.report.sparsity == pytest.approx(0.5, abs=0.1)


@pytest.mark.filterwarnings(
    "ignore:Be aware that when using `ckpt_path`",
    "ignore:`pruning` waits with its update at epoch 1",
)
@pytest.mark.parametrize("epoch", [0, 1, 2])
def test_a_run_that_waits_can_be_resumed(epoch: int, tmp_path: Path) -> None:
    whole, resumed = (Pruning(0.5, schedule=OneShot(epoch=1)) for _ in range(2))
    save = ModelCheckpoint(tmp_path, filename="{epoch}", save_top_k=-1)
    fit(Late(), whole, unfreeze(3), save, epochs=5, enable_checkpointing=True)
    trainer = make_trainer(resumed, unfreeze(3), epochs=5)
    trainer.fit(Late(), data(), ckpt_path=tmp_path / f"epoch={epoch}.ckpt")
    assert whole.report is not None
    assert whole.report == resumed.report
    assert whole.masks_in_force() == resumed.masks_in_force()


@pytest.mark.parametrize("granularity", [Weight(), Channel()], ids=str)
def test_zeros_stay_zero_where_layers_are_unfrozen_between_two_updates(granularity: Any) -> None:
    zeros = Zeros()
    schedule = Linear(start_epoch=0, end_epoch=6, every=3)
    pruning = Pruning(0.4, granularity=granularity, schedule=schedule)
    fit(TwoLayerHead(), pruning, unfreeze(4), zeros, epochs=7)
    assert pruning.report is not None
    names = {group.name.removesuffix(".weight") for group in pruning.report.groups}
    assert {"head.0", "body.0"} <= names
    assert zeros.counts[-1] > 0
    assert zeros.revived == 0
