"""A source of scores, a criterion, a granularity and a schedule of a user's own work everywhere."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from support.fits import Net, data, fit, make_trainer
from support.own.criterion import OftenNegative
from support.own.granularity import Rows
from support.own.schedule import TwoHalves
from torch import Tensor, nn

import lightning_prune as lp

OWN: dict[str, Any] = {
    "criterion": OftenNegative(),
    "granularity": Rows(),
    "schedule": TwoHalves(epoch=1),
}


def net() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2))


def loss(model: nn.Module, batch: Tensor) -> Tensor:
    return model(batch).square().mean()


def test_prune_removes_the_rows_that_scored_lowest() -> None:
    model, batches = net(), [torch.randn(4, 4) for _ in range(5)]
    counts = torch.zeros(8)
    for batch in batches:
        model.zero_grad()
        loss(model, batch).backward()
        counts += (model[0].weight.grad < 0).sum(1)
    report = lp.prune(
        model,
        sparsity=0.25,
        criterion=OftenNegative(),
        granularity=Rows(),
        include=["0"],
        batches=batches,
        loss=loss,
    )
    assert [(g.name, g.removed) for g in report.groups] == [("0.weight", 2)]
    gone = (model[0].weight == 0).all(1)
    assert counts[gone].max() <= counts[~gone].min()


def test_the_callback_follows_the_schedule() -> None:
    pruning = lp.Pruning(0.6, exclude=["body"], of="units", **OWN)
    seen = []

    class Watch(lp.Pruning):
        def on_train_epoch_end(self, trainer: Any, pl_module: Any) -> None:
            super().on_train_epoch_end(trainer, pl_module)
            assert self.pruner is not None
            seen.append(round(self.pruner.sparsity, 4))

    pruning = Watch(0.6, exclude=["body"], of="units", **OWN)
    fit(Net(), pruning)
    assert seen == [0.0, 0.3333, 0.6667, 0.6667]  # of three rows


@pytest.mark.filterwarnings("ignore:Be aware that when using `ckpt_path`")
def test_a_resumed_run_keeps_the_counts(tmp_path: Any) -> None:
    whole, resumed = Net(), Net()
    fit(whole, lp.Pruning(0.6, exclude=["body"], **OWN))
    first = make_trainer(lp.Pruning(0.6, exclude=["body"], **OWN), epochs=3)
    path = tmp_path / "mid.ckpt"

    class Save(lp.SparsityMonitor):
        def on_train_batch_end(self, trainer: Any, *_: Any) -> None:
            if trainer.global_step == 8:
                trainer.save_checkpoint(path)

    first.callbacks.append(Save())
    first.fit(Net(), data())
    again = make_trainer(lp.Pruning(0.6, exclude=["body"], **OWN))
    again.fit(resumed, data(), ckpt_path=path)
    assert torch.equal(resumed.head.weight, whole.head.weight)


def test_the_pruner_of_a_loop_takes_them() -> None:
    model, x = net(), torch.randn(8, 4)
    pruner = lp.Pruner(model, sparsity=0.5, of="units", **OWN)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    pruner.attach(optimizer)
    reached = []
    for epoch in range(4):
        pruner.step(epoch)
        reached.append(pruner.sparsity)
        loss(model, x).backward()
        optimizer.step()
    assert reached == pytest.approx([0.0, 0.25, 0.5, 0.5], abs=0.05)


def test_what_reads_a_word_instead_of_a_class_is_refused_when_it_is_defined() -> None:
    with pytest.raises(TypeError, match=r"`Wrong\.reads` to be a subclass of Evidence, but got 'g"):
        type("Wrong", (lp.Criterion,), {"reads": "gradients"})
