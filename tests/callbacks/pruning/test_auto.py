"""Candidates that are tried while a Trainer trains."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from support.fits import SAFELY, Net, data, fit, make_trainer
from torch import nn
from torch.utils.data import DataLoader, IterableDataset

import lightning_prune as lp
from lightning_prune.callbacks.report.told import with_run
from lightning_prune.report.content import RunReport
from lightning_prune.report.history import History

CANDIDATES = [lp.Random(), lp.Magnitude(), lp.Wanda(), lp.Candidate(lp.Taylor(), lp.Uniform())]


def pruning(**options: Any) -> lp.Pruning:
    schedule = lp.Linear(start_epoch=1, end_epoch=3)
    defaults = {"criterion": lp.Auto(CANDIDATES), "schedule": schedule}
    return lp.Pruning(0.5, **{**defaults, **options})


class Idle(Net):
    """A net whose first four channels have large weights that nothing reads."""

    def __init__(self) -> None:
        super().__init__()
        with torch.no_grad():
            self.body[0].weight[:4] *= 100
            self.body[3].weight[:, :4] = 1e-6

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.parameters(), lr=1e-6)


def test_the_candidate_that_loses_least_cuts():
    model, callback = (
        Idle(),
        pruning(
            criterion=lp.Auto([lp.Magnitude(p=1), lp.Taylor()]),
            granularity=lp.Channel(normalize="none"),
            schedule=lp.OneShot(epoch=1),
            include=["body.0"],
        ),
    )
    fit(model, callback)
    assert callback.report.comparison.best.criterion == lp.Taylor()
    assert not model.body[0].weight[:4].any()
    line = callback.report.comparison.line()
    assert line in callback.report.notes()
    assert with_run(RunReport(), [callback], History(), None).goals[0].options["candidates"] == line


@pytest.mark.parametrize("compensation", [None, lp.LeastSquares(samples=8)])
def test_every_update_chooses_anew_and_reaches_the_target(compensation: Any) -> None:
    callback = pruning(compensation=compensation)
    fit(Net(), callback)
    assert callback.pruner.sparsity == pytest.approx(0.5, abs=0.1)
    trials = callback.report.comparison.tried
    tried = [candidate.criterion for candidate in lp.Auto(CANDIDATES).choices]
    assert [trial.criterion for trial in trials] == tried
    assert all(trial.value > 0 for trial in trials)


@pytest.mark.filterwarnings("ignore:Be aware that when using `ckpt_path`")
def test_a_resumed_run_chooses_the_same(tmp_path: Path) -> None:
    def run(callback: lp.Pruning, *others: Any, epochs: int = 4, **options: Any) -> Net:
        model = Net()
        trainer = make_trainer(callback, *others, epochs=epochs, enable_checkpointing=bool(others))
        trainer.fit(model, data(), **options)
        return model

    whole, first, second = pruning(), pruning(), pruning()
    expected = run(whole)
    save = ModelCheckpoint(tmp_path, filename="x", every_n_epochs=1, save_on_train_epoch_end=True)

    class Stop(lp.SparsityMonitor):
        def on_train_epoch_start(self, trainer: Any, pl_module: Any) -> None:
            if trainer.current_epoch == 2:
                raise RuntimeError("killed")

    with pytest.raises(RuntimeError, match="killed"):
        run(first, save, Stop())
    resumed = run(second, ckpt_path=next(iter(tmp_path.glob("*.ckpt"))), **SAFELY)
    assert second.report.comparison.best_index == whole.report.comparison.best_index
    values = [[t.value for t in c.report.comparison.tried] for c in (whole, second)]
    assert values[0] == values[1]
    for name, value in expected.state_dict().items():
        assert value.equal(resumed.state_dict()[name])


def test_trying_leaves_no_trace_in_the_training() -> None:
    """One candidate in many copies does what it does alone."""
    alone, many = Net(), Net()
    fit(alone, pruning(criterion=lp.Taylor()))
    fit(many, pruning(criterion=lp.Auto([lp.Taylor(), lp.Taylor(), lp.Taylor()])))
    kinds = [type(module) for module in alone.modules()]
    assert nn.BatchNorm2d in kinds
    for name, value in alone.named_parameters():
        assert value.equal(many.get_parameter(name))


class Manual(Net):
    def __init__(self) -> None:
        super().__init__()
        self.automatic_optimization = False

    def training_step(self, batch: Any, batch_idx: int) -> None:
        optimizer = self.optimizers()
        optimizer.zero_grad()
        nn.functional.cross_entropy(self(batch[0]), batch[1]).backward()
        optimizer.step()


@pytest.mark.filterwarnings("ignore:The training step of Manual is not coupled")
def test_a_step_that_optimizes_by_itself_gives_no_loss_to_choose_by() -> None:
    with pytest.raises(ValueError, match="`training_step` that gives the loss of a batch"):
        fit(Manual(), pruning())


class InOrder(IterableDataset):
    def __iter__(self) -> Any:
        return iter(data().dataset)


def test_data_that_have_an_order_are_refused_without_calibration() -> None:
    loader = DataLoader(InOrder(), batch_size=4)
    with pytest.raises(ValueError, match="`calibration` to be given for Auto"):
        make_trainer(pruning()).fit(Net(), loader)
    callback = pruning(calibration=list(data()))
    make_trainer(callback).fit(Net(), loader)
    assert callback.report.comparison is not None
