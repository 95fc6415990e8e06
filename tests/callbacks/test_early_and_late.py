"""What is wrong shows when the training starts; what comes late or over again still works."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import lightning as L
import pytest
import torch
from lightning.pytorch.callbacks import LearningRateFinder, ModelCheckpoint
from support.fits import SAFELY, Net, Validated, data, make_trainer

import lightning_prune as lp

RESUMED = (
    "ignore:Be aware that when using `ckpt_path`",
    "ignore:You're resuming from a checkpoint that",
    "ignore:Checkpoint directory .* exists and is not empty",
)


class Sparse(L.Callback):
    """Counts the weights of a pruning that are masked and not zero as a forward pass begins."""

    def __init__(self, pruning: lp.Pruning) -> None:
        self.pruning, self.wrong, self.masked = pruning, 0, 0

    def on_train_batch_end(self, *_: Any, **__: Any) -> None:
        if self.pruning.pruner is None:
            return
        before = {n: w.clone() for n, w in self.pruning.pruner.masks.weights.items()}
        self.pruning.pruner.masks.apply()
        for name, weight in self.pruning.pruner.masks.weights.items():
            self.wrong += int((before[name] != weight).sum())
            self.masked += int((weight == 0).sum())


class Noisy(Net):
    def optimizer_step(self, *args: Any, **kwargs: Any) -> None:
        super().optimizer_step(*args, **kwargs)
        with torch.no_grad():
            for parameter in self.parameters():
                parameter.add_(1e-2)


def test_what_is_written_after_a_step_is_masked_before_the_next() -> None:
    pruning = lp.Pruning(0.5, lp.Magnitude(), schedule=lp.OneShot(epoch=0))
    counted = Sparse(pruning)
    make_trainer(pruning, counted).fit(Noisy(), data())
    assert counted.masked > 0
    assert counted.wrong == 0


class Late(L.Callback):
    """Writes to all weights when the last epoch is over."""

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if trainer.current_epoch == 3:
            with torch.no_grad():
                for parameter in pl_module.parameters():
                    parameter.add_(1e-2)


def test_what_is_written_after_the_last_epoch_is_masked_when_the_fit_ends() -> None:
    pruning = lp.Pruning(0.5, lp.Magnitude(), schedule=lp.OneShot(epoch=0))
    make_trainer(pruning, Late()).fit(Net(), data())
    assert pruning.pruner is not None
    masks = pruning.pruner.masks
    gone = [weight[~masks[name]] for name, weight in masks.weights.items()]
    assert sum(one.numel() for one in gone) > 0
    assert not any(one.any() for one in gone)


class WithoutOptimizer(Net):
    def configure_optimizers(self) -> Any:
        return None


@pytest.mark.filterwarnings("ignore:`LightningModule.configure_optimizers` returned `None`")
def test_a_module_without_optimizers_is_pruned() -> None:
    pruning = lp.Pruning(0.5, lp.Magnitude(), schedule=lp.OneShot(epoch=0))
    make_trainer(pruning).fit(WithoutOptimizer(), data())
    assert pruning.pruner is not None
    assert pruning.pruner.sparsity == pytest.approx(0.5, abs=0.1)


ALLOCATIONS = {
    "a pattern of nothing": (lp.PerLayer({"nothing": 0.5}), "which matches none of"),
    "zero everywhere": (lp.PerLayer({}), "to be above 0 for a module that is pruned"),
}


@pytest.mark.parametrize(("allocation", "match"), ALLOCATIONS.values(), ids=ALLOCATIONS)
def test_layers_that_do_not_fit_show_before_the_first_step(
    allocation: lp.Allocation, match: str
) -> None:
    pruning = lp.Pruning(0.5, schedule=lp.OneShot(epoch=2), allocation=allocation)
    trainer = make_trainer(pruning)
    with pytest.raises(ValueError, match=match):
        trainer.fit(Net(), data())
    assert trainer.global_step == 0


def test_no_batches_to_calibrate_are_refused_at_once() -> None:
    with pytest.raises(ValueError, match=r"Expected `calibration` to hold batches, but got \[\]"):
        lp.Pruning(0.5, calibration=[], compensation=lp.LeastSquares())


def test_a_path_of_exports_is_checked_before_the_training() -> None:
    trainer = make_trainer(lp.Export(path=""))
    with pytest.raises(ValueError, match="which names no file"):
        trainer.fit(Net(), data())
    assert trainer.global_step == 0


def fit(folder: Path, during: bool, ckpt_path: Path | None = None, **options: Any) -> Net:
    model = Net()
    pruning = lp.Pruning(0.5, lp.Magnitude(), schedule=lp.OneShot(epoch=1))
    compaction = lp.Compaction(during=during, min_gain=0.01, latency=False)
    saved = ModelCheckpoint(folder, filename="{epoch}", save_top_k=-1)
    trainer = make_trainer(pruning, compaction, saved, enable_checkpointing=True, **options)
    trainer.fit(model, data(), ckpt_path=ckpt_path)
    return model


@pytest.mark.filterwarnings(*RESUMED)
@pytest.mark.parametrize("during", [False, True])
def test_a_run_that_was_finished_is_compacted_again(during: bool, tmp_path: Path) -> None:
    whole = fit(tmp_path, during)
    last = max(tmp_path.glob("epoch=*.ckpt"), key=lambda path: path.stat().st_mtime)
    again = fit(tmp_path, during, last)
    for one, other in zip(whole.parameters(), again.parameters(), strict=True):
        assert torch.equal(one, other)


@pytest.mark.filterwarnings(*RESUMED)
def test_a_precision_that_is_chosen_late_is_that_of_the_full_size(tmp_path: Path) -> None:
    fit(tmp_path, True, precision="64-true")
    resumed = fit(tmp_path, True, tmp_path / "epoch=1.ckpt", precision="64-true")
    assert {parameter.dtype for parameter in resumed.parameters()} == {torch.float64}


def test_a_target_of_less_than_a_unit_is_told() -> None:
    pruning = lp.Pruning(1e-6, lp.Magnitude(), schedule=lp.OneShot(epoch=0))
    with pytest.warns(UserWarning, match="nearer to nothing than to one unit"):
        make_trainer(pruning).fit(Net(), data())


class Twice(Net):
    """Steps twice for every batch."""

    def __init__(self) -> None:
        super().__init__()
        self.automatic_optimization = False

    def training_step(self, batch: Any, batch_idx: int) -> None:
        optimizer = self.optimizers()
        for _ in range(2):
            optimizer.zero_grad()
            self.manual_backward(torch.nn.functional.cross_entropy(self(batch[0]), batch[1]))
            optimizer.step()

    def optimizer_step(self, *args: Any, **kwargs: Any) -> None: ...


@pytest.mark.filterwarnings("ignore:The training step of Twice is not coupled")
def test_steps_by_hand_are_as_many_as_they_are() -> None:
    pruning = lp.Pruning(0.5, schedule=lp.OneShot(step=20))  # of 2 * 4 * 4
    trainer = make_trainer(pruning)
    trainer.fit(Twice(), data())
    assert trainer.global_step == 32
    assert pruning.report is not None


def test_a_search_of_the_learning_rate_leaves_a_schedule_in_fractions(tmp_path: Path) -> None:
    finder = LearningRateFinder(num_training_steps=8, update_attr=False)
    pruning = lp.Pruning(0.5, schedule=lp.OneShot(at=0.5))
    model = Net()
    model.lr = 0.1
    make_trainer(finder, pruning, default_root_dir=tmp_path).fit(model, data())
    assert pruning.schedule == lp.OneShot(step=8)
    assert pruning.report is not None


class BestInTheThird(Validated):
    def validation_step(self, batch: Any, batch_idx: int) -> None:
        self.log("val_loss", float(self.trainer.current_epoch != 2))


@pytest.mark.filterwarnings(*RESUMED)
def test_the_best_weights_do_not_mind_the_order_of_what_masks(tmp_path: Path) -> None:
    def fit(*, other_order: bool, **resumed: Any) -> Net:
        several = [
            lp.Pruning(0.5, name="one", include=["body.0"]),
            lp.Pruning(0.3, name="two", granularity=lp.Weight(), include=["body.3"]),
        ]
        saved = ModelCheckpoint(tmp_path, filename="{epoch}", save_top_k=-1)
        compaction = lp.Compaction(monitor="val_loss", latency=False)
        model = BestInTheThird()
        trainer = make_trainer(
            *(several[::-1] if other_order else several),
            compaction,
            saved,
            epochs=5,
            enable_checkpointing=True,
        )
        trainer.fit(model, data(same=True), data(same=True), **resumed)
        return model

    whole = fit(other_order=False)
    resumed = fit(other_order=True, ckpt_path=tmp_path / "epoch=3.ckpt", **SAFELY)
    for one, other in zip(whole.parameters(), resumed.parameters(), strict=True):
        assert torch.equal(one, other)


class Unused(Validated):
    """Holds a layer that no step runs, of the width that another one gets."""

    def __init__(self) -> None:
        super().__init__()
        self.extra = torch.nn.Linear(6, 6)


def test_what_seems_to_be_read_by_an_unused_layer_of_its_width_goes_in_the_end() -> None:
    sizes = []
    for during in (False, True):
        model = Unused()
        compaction = lp.Compaction(during=during, min_gain=0.01, latency=False)
        pruning = lp.Pruning(0.5, schedule=lp.Linear(start_epoch=1, end_epoch=3))
        make_trainer(pruning, compaction, epochs=5).fit(model, data(), data())
        sizes.append([p.shape for p in model.parameters()])
    assert sizes[0] == sizes[1]
    assert sizes[0][0][0] == 4  # 8, then 6, then 4
