"""Checkpoints of compact modules are loaded by modules of full size, and train on."""

from pathlib import Path
from typing import Any

import lightning as L
import pytest
import torch
from support.fits import SAFELY, Net, data, make_trainer

import lightning_prune as lp
from lightning_prune.compaction.records import plan_of

averaging = pytest.importorskip("lightning.pytorch.callbacks.weight_averaging")
# `Pruning` has done its work, and weights are averaged anew.
pytestmark = pytest.mark.filterwarnings(
    "ignore:Be aware that when using `ckpt_path`",
    "ignore:The checkpoint was not created with WeightAveraging",
)


def compacted(model: L.LightningModule, path: Path, *callbacks: L.Callback, **options: Any) -> None:
    trainer = make_trainer(lp.Pruning(0.5), lp.Compaction(latency=False), *callbacks)
    trainer.fit(model, data(same=True))
    trainer.save_checkpoint(path, **options)


def assert_same(one: torch.nn.Module, other: torch.nn.Module) -> None:
    for a, b in zip(one.state_dict().values(), other.state_dict().values(), strict=True):
        assert torch.equal(a, b)


def new_class() -> type[Net]:
    """A class that no `Compaction` has seen."""

    class Fresh(Net):
        noted: list[Any]

        def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
            self.noted = [self.head.in_features]

    return Fresh


@pytest.mark.parametrize("weights_only", [False, True])
def test_load_from_checkpoint_gives_the_compact_module(weights_only: bool, tmp_path: Path) -> None:
    model = Net("AdamW")
    compacted(model, tmp_path / "x.ckpt", weights_only=weights_only)
    loaded = lp.compactable(new_class()).load_from_checkpoint(tmp_path / "x.ckpt", **SAFELY)
    assert plan_of(loaded) == plan_of(model) != lp.compaction.Plan()
    assert_same(loaded, model)
    assert loaded.noted == [model.head.in_features]  # the user's own hook sees the compact module


def test_the_class_is_changed_once() -> None:
    kind = new_class()
    assert lp.compactable(kind) is kind
    hook = kind.on_load_checkpoint
    assert lp.compactable(kind).on_load_checkpoint is hook
    assert hook.__name__ == "on_load_checkpoint"


def test_compaction_makes_the_class_compactable(tmp_path: Path) -> None:
    kind = new_class()
    model = kind("AdamW")
    compacted(model, tmp_path / "x.ckpt")
    assert_same(kind.load_from_checkpoint(tmp_path / "x.ckpt", **SAFELY), model)


class Counted(torch.nn.Linear):
    """Has state that is no tensor."""

    def get_extra_state(self) -> Any:
        return {"count": 1}

    def set_extra_state(self, state: Any) -> None:
        self.count = state["count"]


def test_state_that_is_no_tensor_is_loaded_with_it(tmp_path: Path) -> None:
    class Counting(Net):
        def __init__(self, optimizer: str = "AdamW") -> None:
            super().__init__(optimizer)
            self.head = Counted(6, 3)

    model = Counting()
    compacted(model, tmp_path / "x.ckpt")
    loaded = Counting.load_from_checkpoint(tmp_path / "x.ckpt", weights_only=True)
    assert torch.equal(loaded.head.weight, model.head.weight)
    assert loaded.head.count == 1
    with pytest.raises(ValueError, match=r"the model lacks: head\._extra_state"):
        lp.load_compact(Counting(), tmp_path / "x.ckpt")


class Summed(Net):
    def test_step(self, batch: Any, batch_idx: int) -> None:
        self.log("sum", self(batch[0]).sum())


def test_a_module_of_full_size_is_tested_with_a_compact_checkpoint(tmp_path: Path) -> None:
    model = Summed("AdamW")
    compacted(model, tmp_path / "x.ckpt")
    (expected,) = make_trainer().test(model, data(), verbose=False)
    (found,) = make_trainer(lp.Compaction()).test(
        Summed(), data(), ckpt_path=tmp_path / "x.ckpt", verbose=False
    )
    assert found == expected


OTHERS = {
    "of full size": lambda path: Net("AdamW"),
    "compact already": lambda path: lp.load_compact(Net("AdamW"), path),
}


@pytest.mark.parametrize("make", OTHERS.values(), ids=OTHERS)
def test_training_goes_on_under_weight_averaging(make: Any, tmp_path: Path) -> None:
    """The averages are copied before the checkpoint is loaded."""
    model, path = Net("AdamW"), tmp_path / "x.ckpt"
    compacted(model, path, averaging.EMAWeightAveraging(decay=0.5))
    other = make(path)
    ema = averaging.EMAWeightAveraging(decay=0.5)
    trainer = make_trainer(ema, lp.Compaction(latency=False), epochs=6)
    trainer.fit(other, data(same=True), ckpt_path=path, **SAFELY)
    assert other.head.in_features == model.head.in_features < 6
    assert trainer.global_step == 6 * 4


def test_pruning_does_not_go_on_in_the_compact_module(tmp_path: Path) -> None:
    compacted(Net("AdamW"), tmp_path / "x.ckpt")
    trainer = make_trainer(lp.Pruning(0.5), lp.Compaction(latency=False), epochs=6)
    with pytest.raises(ValueError, match="become compact since trains on without this pruning"):
        trainer.fit(Net("AdamW"), data(same=True), ckpt_path=tmp_path / "x.ckpt", **SAFELY)


def test_another_compact_module_is_refused(tmp_path: Path) -> None:
    compacted(Net("AdamW"), tmp_path / "x.ckpt")
    other = Net("SGD")
    compacted(other, tmp_path / "other.ckpt")
    trainer = make_trainer(lp.Compaction(latency=False), epochs=6)
    other = lp.load_compact(Net("SGD"), tmp_path / "other.ckpt")
    with pytest.raises(ValueError, match="but got one that lost others"):
        trainer.fit(other, data(same=True), ckpt_path=tmp_path / "x.ckpt", **SAFELY)


class Again(Net):
    """Goes on with the optimizer that it has."""

    made: Any = None

    def configure_optimizers(self) -> Any:
        self.made = self.made or super().configure_optimizers()
        return self.made


def test_a_second_fit_goes_on_with_the_same_optimizer(tmp_path: Path) -> None:
    model = Again("AdamW")
    compacted(model, tmp_path / "x.ckpt")
    make_trainer(epochs=2).fit(model, data(same=True))
    other = lp.load_compact(Again("AdamW"), tmp_path / "x.ckpt")
    make_trainer(epochs=6).fit(other, data(same=True), ckpt_path=tmp_path / "x.ckpt", **SAFELY)
    assert_same(model, other)
    assert model.made.state[model.head.weight]["step"] == 6 * 4


def test_a_state_that_cannot_be_cut_is_dropped_with_a_warning(tmp_path: Path) -> None:
    with pytest.warns(UserWarning, match=r"could not be cut .* dropped: body\.0\.weight\. If"):
        compacted(Net("LBFGS"), tmp_path / "x.ckpt")
