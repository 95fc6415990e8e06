"""A run leaves a page of what it asked for, reached and measured, in any order of callbacks."""

import json
from pathlib import Path
from typing import Any

import lightning as L
import pytest
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.loggers import CSVLogger
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from lightning_prune.callbacks import (
    AccuracyGuard,
    Compaction,
    Export,
    LatencyMonitor,
    Pruning,
    Report,
    SparsityMonitor,
)
from lightning_prune.criteria import Gradient, Magnitude
from lightning_prune.granularities import Weight
from lightning_prune.schedules import Linear

QUICK: dict[str, Any] = {"warmup_runs": 1, "min_runs": 3, "max_seconds": 0.01}


class Net(L.LightningModule):
    """Two layers; its validation logs an accuracy and a loss."""

    def __init__(self) -> None:
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(0)
            self.net = nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 2))

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x)

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        return self(batch[0]).square().mean()

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        self.log("val/loss", self(batch[0]).square().mean())
        self.log("val/accuracy", float(self.current_epoch) / 4)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.01)


def loader() -> DataLoader[Any]:
    x = torch.randn(8, 6, generator=torch.Generator().manual_seed(0))
    return DataLoader(TensorDataset(x), batch_size=4)


def fit(folder: Path, *callbacks: L.Callback, ckpt_path: Any = None, **options: Any) -> L.Trainer:
    trainer = L.Trainer(
        accelerator="cpu",
        callbacks=list(callbacks),
        enable_progress_bar=False,
        enable_model_summary=False,
        **{
            "logger": CSVLogger(folder),
            "max_epochs": 3,
            "enable_checkpointing": False,
            "num_sanity_val_steps": 0,
            **options,
        },
    )
    trainer.fit(Net(), loader(), loader(), ckpt_path=ckpt_path)
    return trainer


class Fail(L.Callback):
    """Fails in the third epoch."""

    def on_train_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if trainer.current_epoch == 2:
            raise RuntimeError("out of luck")


def pruning(**options: Any) -> Pruning:
    schedule = Linear(start_epoch=1, end_epoch=2)
    return Pruning(0.5, options.pop("criterion", Gradient()), schedule=schedule, **options)


def stored(report: Report) -> dict[str, Any]:
    assert report.path is not None
    return json.loads((report.path.parent / "report.json").read_text())


@pytest.fixture(scope="module", params=[False, True], ids=["last", "first"])
def run(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Any:
    report = Report(batch_sizes=[1])
    others = [
        pruning(),
        Compaction(latency=False),
        SparsityMonitor(),
        LatencyMonitor(**QUICK, every_n_epochs=2),
    ]
    callbacks = [report, *others] if request.param else [*others, report]
    trainer = fit(tmp_path_factory.mktemp("run"), *callbacks)
    return trainer, report, stored(report)


def test_the_page_is_in_the_log_directory(run: Any) -> None:
    trainer, report, _ = run
    assert report.path == Path(trainer.log_dir, "report.html")
    assert report.path.read_text().count("<svg ") == len([*report.path.parent.glob("*.png")]) > 5


def test_updates_are_found_at_their_steps(run: Any) -> None:
    found = run[2]
    assert [(u["epoch"], u["step"], u["asked"]) for u in found["updates"]] == [
        (1, 2, 0.0),
        (2, 4, 0.5),
    ]
    assert found["epochs"] == [2, 4, 6]
    assert found["goals"][0]["asked"] == 0.5
    assert found["goals"][0]["reached"] == found["updates"][-1]["reached"]


def test_metrics_are_found_at_the_steps_at_which_they_were_logged(run: Any) -> None:
    series = {one["key"]: one for one in run[2]["series"]}
    assert series["val/accuracy"]["steps"] == [2, 4, 6]
    assert series["val/accuracy"]["values"] == [0.0, 0.25, 0.5]
    assert series["val/accuracy"]["kind"] == "accuracy"
    assert series["pruning/sparsity"]["steps"] == [2, 4, 6]
    assert series["latency/p50_ms"]["steps"] == [4]  # every other epoch
    assert [trade["accuracy"] for trade in run[2]["trades"]] == [0.25]


def test_both_models_are_measured(run: Any) -> None:
    found = run[2]
    layer = next(one for one in found["layers"] if one["name"] == "net.0")
    assert (layer["shape_before"], layer["shape_after"]) == ([8, 6], [4, 6])
    assert layer["macs_before"] == 2 * layer["macs_after"]
    assert {t["what"] for t in found["timings"]} == {
        *("full size", "compact", "in fit", "in fit, compact")
    }


def test_the_scores_of_the_last_update_are_counted(run: Any) -> None:
    (histogram,) = run[2]["histograms"]
    assert histogram["group"] == "net.0"
    assert sum(histogram["kept"]) == 4
    assert sum(histogram["removed"]) + histogram["zeros"] == 4


def test_what_is_frozen_is_named(run: Any) -> None:
    assert any(reason["name"] == "net.2.weight[0]" for reason in run[2]["reasons"])


def test_a_fit_that_is_interrupted_leaves_what_there_is(tmp_path: Path) -> None:
    report = Report()
    with pytest.raises(RuntimeError, match="out of luck"):
        fit(tmp_path, report, pruning(), Fail())
    found = stored(report)
    assert found["status"] == "The fit was interrupted by RuntimeError: out of luck"
    assert [update["epoch"] for update in found["updates"]] == [1, 2]
    assert found["layers"] == []


def test_decisions_of_the_guard_are_told(tmp_path: Path) -> None:
    report = Report(measure=False)
    guard = AccuracyGuard("val/loss", max_drop=0.0, mode="max", action="pause")
    fit(tmp_path, report, pruning(), guard)
    told = [one["reason"] for one in stored(report)["reasons"] if one["what"] == "guard"]
    assert told == guard.decisions


def test_what_is_exported_later_is_told(tmp_path: Path) -> None:
    report = Report(measure=False)
    fit(tmp_path, report, Export(tmp_path / "net", ["torch.export"]))
    assert "torch.export" in {one["backend"] for one in stored(report)["timings"]}


def test_single_weights_are_sampled(tmp_path: Path) -> None:
    report = Report(measure=False)
    fit(tmp_path, report, pruning(criterion=Magnitude(), granularity=Weight()))
    histograms = stored(report)["histograms"]
    assert [one["sampled"] for one in histograms] == [6 * 8, 8 * 2]


@pytest.mark.filterwarnings("ignore:Be aware that when using `ckpt_path`")
def test_a_resumed_run_goes_on_with_its_history(tmp_path: Path) -> None:
    saving = ModelCheckpoint(tmp_path / "saved", save_last=True)
    with pytest.raises(RuntimeError, match="out of luck"):
        fit(tmp_path, saving, Report(), pruning(), Fail(), enable_checkpointing=True)
    report = Report(measure=False)
    fit(tmp_path, report, pruning(), ckpt_path=tmp_path / "saved" / "last.ckpt")
    series = {one["key"]: one for one in stored(report)["series"]}
    assert series["val/accuracy"]["steps"] == [2, 4, 6]
    assert [update["step"] for update in stored(report)["updates"]] == [2, 4]


def test_a_page_that_cannot_be_written_ends_no_fit(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    report = Report(folder=tmp_path / "file" / "below", measure=False)
    with pytest.warns(UserWarning, match="Report measures nothing more in this fit"):
        fit(tmp_path, report)
    assert report.path is None


def test_a_run_of_one_batch_leaves_nothing(tmp_path: Path) -> None:
    report = Report(folder=tmp_path)
    fit(tmp_path, report, fast_dev_run=True)
    assert not [*tmp_path.iterdir()]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"batch_sizes": [0]}, "batch_sizes"),
        ({"backends": ["onx"]}, "backends"),
        ({"measure": 1}, "measure"),
        ({"folder": 3}, "path"),
        ({"title": ""}, "title"),
        ({"monitor": ""}, "monitor"),
    ],
)
def test_wrong_options_are_refused(options: Any, message: str) -> None:
    with pytest.raises((ValueError, TypeError), match=message):
        Report(**options)
