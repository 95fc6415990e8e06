import re
from pathlib import Path
from typing import Any

import lightning as L
import pytest
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from support.fits import SAFELY, Net, data, fit, make_trainer

from lightning_prune.callbacks.pruning.callback import Pruning
from lightning_prune.criteria import Criterion, Fisher, Gradient, Magnitude
from lightning_prune.granularities import Channel, Weight
from lightning_prune.schedules import DenseSparseDense, Linear, OneShot
from lightning_prune.schedules.window import Window, points


class Headless(Net):
    """Trains the body alone; the head is in no optimizer, but not frozen either."""

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.body.parameters(), lr=0.1)


@pytest.mark.parametrize("criterion", [Gradient(), Fisher()], ids=str)
def test_weights_that_no_optimizer_holds_are_named(criterion: Criterion) -> None:
    pruning = Pruning(0.2, criterion, granularity=Weight(), schedule=OneShot(epoch=1))
    with pytest.warns(UserWarning, match="but got none for head.weight: their"):
        fit(Headless(), pruning, epochs=2)


def test_weights_can_be_scored_without_an_optimizer() -> None:
    pruning = Pruning(0.2, Magnitude(), granularity=Weight(), schedule=OneShot(epoch=1))
    fit(Headless(), pruning, epochs=2)  # warnings are errors
    assert pruning.pruner is not None
    assert pruning.pruner.sparsity == pytest.approx(0.2, abs=1e-3)


def test_an_update_masks_the_momentum_as_well() -> None:
    model = Net("momentum")
    pruning = Pruning(
        0.5, Gradient(), granularity=Weight(), schedule=Linear(start_epoch=1, end_epoch=3)
    )
    trainer = fit(model, pruning)
    assert pruning.pruner is not None
    (optimizer,) = trainer.optimizers
    for name, mask in pruning.pruner.masks.items():
        momentum = optimizer.state[model.get_parameter(name)]["momentum_buffer"]
        assert not momentum[~mask].any()
        assert momentum[mask].any()


DSD = DenseSparseDense(start_epoch=1, end_epoch=2)


@pytest.mark.filterwarnings("ignore:Be aware that when using `ckpt_path`")
def test_a_release_is_the_same_in_a_resumed_run(tmp_path: Path) -> None:
    models = []
    for path in (None, tmp_path / "epoch=1.ckpt"):
        models.append(Net("Adam"))
        pruning = Pruning(0.5, Gradient(), granularity=Channel(), schedule=DSD)
        save = ModelCheckpoint(tmp_path, filename="{epoch}", save_top_k=-1 if path is None else 0)
        trainer = make_trainer(pruning, save, epochs=3, enable_checkpointing=True)
        trainer.fit(models[-1], data(), ckpt_path=path, **(SAFELY if path else {}))
    one, two = (model.state_dict() for model in models)
    assert all(torch.equal(one[name], two[name]) for name in one)
    assert all(weight.all() for weight in models[0].parameters())


def test_what_is_released_has_no_momentum_from_before() -> None:
    class Rest(L.Callback):
        """Notes the momentum of the weights that are masked before the release, and after."""

        def on_train_epoch_end(self, trainer: L.Trainer, pl_module: Any) -> None:
            assert pruning.pruner is not None
            if trainer.current_epoch == 1:
                self.masks = dict(pruning.pruner.masks)

        def on_train_batch_start(self, trainer: L.Trainer, pl_module: Any, *args: Any) -> None:
            if trainer.current_epoch == 2 and args[-1] == 0:
                state = trainer.optimizers[0].state
                momenta = {
                    n: state[pl_module.get_parameter(n)]["momentum_buffer"] for n in self.masks
                }
                self.any = any(momenta[n][~mask].any() for n, mask in self.masks.items())

    pruning = Pruning(0.5, Gradient(), granularity=Channel(), schedule=DSD)
    rest = Rest()
    fit(Net("momentum"), pruning, rest, epochs=3)
    assert rest.masks
    assert not rest.any


class Falling(OneShot):
    """Half of what is removed in epoch 1 comes back in epoch 2."""

    monotone = False

    @property
    def window(self) -> Window:
        return points([1, 2], None)

    def level(self, due: int, final: float) -> float:
        return final if due == 1 else final / 2


@pytest.mark.parametrize("criterion", [Magnitude(), Gradient()], ids=str)
def test_a_part_may_be_released(criterion: Criterion) -> None:
    model = Net()
    pruning = Pruning(0.5, criterion, granularity=Channel(), of="units", schedule=Falling(epoch=1))
    fit(model, pruning, epochs=3)
    assert pruning.pruner is not None
    assert pruning.pruner.sparsity == pytest.approx(0.25, abs=1 / 14)
    for name, mask in pruning.pruner.masks.items():
        assert torch.equal(model.get_parameter(name) != 0, mask)


def lines(capsys: Any, **options: Any) -> list[str]:
    pruning = Pruning(0.5, **options)
    fit(Net(), pruning, epochs=6)
    printed = capsys.readouterr().out.splitlines()
    assert max(map(len, printed)) <= 100
    return [line for line in printed if line.startswith("pruning, ")]


def test_every_update_in_epochs_is_told(capsys: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "100")
    told = lines(capsys, schedule=Linear(start_epoch=1, end_epoch=4))
    assert [line.split(":")[0] for line in told] == [f"pruning, epoch {e}" for e in (1, 2, 3, 4)]
    assert told[0].endswith("asked 0.000, got 0.000")
    assert "asked 0.500, got 0.5" in told[-1]
    assert re.search(r"leaves \d+ params, \d\d% MACs; most cut: body\.\d \d\d%$", told[-1])


def test_of_many_updates_in_steps_those_are_told_that_reach_the_next_percent(capsys: Any) -> None:
    schedule = Linear(start_step=1, end_step=19)
    told = lines(capsys, criterion=Magnitude(), granularity=Channel(), schedule=schedule)
    steps = [int(line.split(":")[0].split()[-1]) for line in told]
    assert len(steps) < 19  # a channel goes in every second or third step
    assert steps[-1] == 19


def test_what_the_last_update_left_alone_is_told_once(capsys: Any) -> None:
    pruning = Pruning(0.2, exclude=["body.0"], schedule=Linear(start_epoch=1, end_epoch=3))
    fit(Net(), pruning)
    assert capsys.readouterr().out.count("left alone, `body.0` is excluded: body.0") == 1
