from pathlib import Path
from typing import Any

import lightning as L
import pytest
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from support.fits import SAFELY, Net, data, fit, make_trainer

from lightning_prune.callbacks.pruning.callback import Pruning
from lightning_prune.criteria import Magnitude
from lightning_prune.granularities import Weight
from lightning_prune.schedules import Linear, OneShot


class Versions(L.Callback):
    """Notes by how much the version of a weight grows in each batch."""

    def __init__(self) -> None:
        self.growth: list[int] = []

    def on_train_batch_start(self, trainer: Any, pl_module: Any, *_: Any) -> None:
        self.before = pl_module.head.weight._version

    def on_train_batch_end(self, trainer: Any, pl_module: Any, *_: Any) -> None:
        self.growth.append(pl_module.head.weight._version - self.before)


def test_masked_weights_are_written_to_by_the_optimizer_alone() -> None:
    plain, masked = Versions(), Versions()
    fit(Net(), plain, epochs=2)
    model, pruning = Net(), Pruning(0.5, granularity=Weight(), schedule=OneShot(epoch=1))
    fit(model, pruning, masked, epochs=2)
    assert masked.growth[-3:] == plain.growth[-3:]


class Spoiling(L.Callback):
    """Writes to masked weights after the batches of the first epochs."""

    def __init__(self, value: float, epochs: int = 1) -> None:
        self.value, self.epochs = value, epochs

    def on_train_batch_end(self, trainer: Any, pl_module: Any, *_: Any) -> None:
        if trainer.current_epoch < self.epochs:
            pl_module.head.weight.data[pl_module.head.weight == 0] = self.value


def test_what_a_callback_writes_to_masked_weights_is_named_once() -> None:
    model = Net()
    pruning = Pruning(0.5, Magnitude(), granularity=Weight(), schedule=OneShot(epoch=0))
    with pytest.warns(UserWarning, match="not, in head.weight. They are zero again") as warnings:
        fit(model, pruning, Spoiling(0.5), epochs=2)
    assert len([w for w in warnings if "zero again" in str(w.message)]) == 1
    assert pruning.pruner is not None
    assert not model.head.weight[~pruning.pruner.masks["head.weight"]].any()


class Counting(L.Callback):
    """Counts what is not zero of the masked weights after each batch."""

    def __init__(self, pruning: Pruning) -> None:
        self.pruning = pruning
        self.found: list[int] = []

    def on_train_batch_end(self, trainer: Any, pl_module: Any, *_: Any) -> None:
        assert self.pruning.pruner is not None
        gone = ~self.pruning.pruner.masks["head.weight"]
        self.found.append(int(pl_module.head.weight[gone].count_nonzero()))


def test_after_the_warning_weights_are_masked_after_every_batch() -> None:
    pruning = Pruning(0.5, Magnitude(), granularity=Weight(), schedule=OneShot(epoch=0))
    counting = Counting(pruning)
    with pytest.warns(UserWarning, match="zero again"):
        fit(Net(), Spoiling(0.5, epochs=2), pruning, counting, epochs=2)
    half = len(counting.found) // 2
    assert any(counting.found[:half])
    assert not any(counting.found[half:])


class Writing(L.Callback):
    def on_train_batch_end(self, trainer: Any, pl_module: Any, *_: Any) -> None:
        with torch.no_grad():
            pl_module.head.weight.add_(1.0)


def test_what_is_written_after_a_step_is_masked_with_the_batch() -> None:
    pruning = Pruning(0.5, Magnitude(), granularity=Weight(), schedule=OneShot(epoch=0))
    counting = Counting(pruning)
    fit(Net(), Writing(), pruning, counting, epochs=2)  # warnings are errors
    assert not any(counting.found)


def test_a_training_that_diverges_is_no_revival() -> None:
    model = Net()
    pruning = Pruning(0.5, Magnitude(), granularity=Weight(), schedule=OneShot(epoch=0))
    fit(model, pruning, Spoiling(torch.nan), epochs=2)  # warnings are errors
    assert pruning.pruner is not None
    assert not model.head.weight[~pruning.pruner.masks["head.weight"]].any()


def test_a_guard_starts_anew_with_every_fit() -> None:
    pruning = Pruning(0.5, Magnitude(), granularity=Weight(), schedule=OneShot(epoch=0))
    for _ in range(2):
        with pytest.warns(UserWarning, match="zero again"):
            fit(Net(), pruning, Spoiling(0.5), epochs=2)


@pytest.mark.parametrize(("score_every", "scored"), [(1, [4, 8]), (3, [2, 3]), (9, [1, 1])])
def test_gradients_of_one_of_so_many_steps_are_read(score_every: int, scored: list[int]) -> None:
    pruning = Pruning(0.5, schedule=OneShot(epoch=2), score_every=score_every)
    read: list[int] = []

    class Reading(L.Callback):
        def on_train_epoch_end(self, trainer: Any, pl_module: Any) -> None:
            assert pruning.pruner is not None
            state = pruning.pruner.scorer.state_dict()
            if state is not None:
                read.append(int(state["steps"].max()))

    fit(Net(), pruning, Reading(), epochs=3)
    assert read == scored


def test_after_an_update_the_first_step_is_read() -> None:
    pruning = Pruning(0.5, schedule=Linear(start_epoch=0, end_epoch=3), score_every=100)
    fit(Net(), pruning)
    assert pruning.pruner is not None
    assert pruning.pruner.sparsity == pytest.approx(0.5, abs=0.1)


@pytest.mark.filterwarnings("ignore:Be aware that when using `ckpt_path`")
def test_a_resumed_run_goes_on_counting_the_steps_that_are_not_read(tmp_path: Path) -> None:
    counts: list[dict[str, int]] = []

    class Counted(L.Callback):
        def on_train_epoch_end(self, trainer: Any, pl_module: Any) -> None:
            if trainer.current_epoch == 1:
                counts.append(pruning.state_dict()["steps"])

    for path in (None, tmp_path / "epoch=0.ckpt"):
        pruning = Pruning(0.5, schedule=OneShot(epoch=2), score_every=3)
        saved = ModelCheckpoint(tmp_path, filename="{epoch}", save_top_k=-1)
        more = () if path else (saved,)
        trainer = make_trainer(pruning, Counted(), *more, epochs=3, enable_checkpointing=not path)
        trainer.fit(Net(), data(), ckpt_path=path, **(SAFELY if path else {}))
    assert counts[0] == counts[1]
    assert set(counts[0].values()) == {8}
