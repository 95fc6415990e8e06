"""All that callbacks do, under `lightning` and under `pytorch_lightning`."""

from __future__ import annotations

import sys
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import lightning.pytorch
import pytest
import pytorch_lightning
import torch
import yaml
from lightning_utilities.core import rank_zero
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

import lightning_prune as lp
from lightning_prune.callbacks.trainer.namespaces import _imported, classes
from lightning_prune.callbacks.trainer.strategies import check_strategy

NAMESPACES = [lightning.pytorch, pytorch_lightning]
UNITS = 8
AVERAGES = {
    "WeightAveraging": {},
    "EMAWeightAveraging": {"decay": 0.9},
    "StochasticWeightAveraging": {"swa_lrs": 0.01, "swa_epoch_start": 2},
}


@pytest.fixture(params=NAMESPACES, ids=lambda package: package.__name__)
def package(request: pytest.FixtureRequest) -> Any:
    return request.param


def data() -> Any:
    generator = torch.Generator().manual_seed(1)
    return DataLoader(TensorDataset(torch.randn(16, 4, generator=generator)), batch_size=4)


def net_of(package: Any) -> Any:
    """A net whose metric falls by a tenth every epoch, with a head that only the training runs."""

    class Net(package.LightningModule):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            with torch.random.fork_rng():
                torch.manual_seed(0)
                self.body = nn.Sequential(nn.Linear(4, UNITS), nn.ReLU())
                self.head = nn.Linear(UNITS, 3)
                self.training_head = nn.Linear(UNITS, 2)

        def forward(self, x: Tensor) -> Tensor:
            return self.head(self.body(x))

        def training_step(self, batch: Any, batch_idx: int) -> Tensor:
            auxiliary = self.training_head(self.body(batch[0])).square().mean()
            return (self(batch[0]) - 1.0).square().mean() + auxiliary

        def validation_step(self, batch: Any, batch_idx: int) -> None:
            self.log("accuracy", 1.0 - 0.1 * self.current_epoch)

        def configure_optimizers(self) -> Any:
            return torch.optim.SGD(self.parameters(), lr=0.05, momentum=0.9)

        def train_dataloader(self) -> Any:
            return data()

        def val_dataloader(self) -> Any:
            return data()

    return Net


def fit(package: Any, *callbacks: Any, ckpt_path: Any = None, **options: Any) -> Any:
    trainer = package.Trainer(
        accelerator="cpu",
        callbacks=list(callbacks),
        num_sanity_val_steps=0,
        enable_progress_bar=False,
        enable_model_summary=False,
        **{"max_epochs": 4, "logger": False, "enable_checkpointing": False, **options},
    )
    trainer.fit(net_of(package)(), ckpt_path=ckpt_path)
    return trainer


def pruning(**options: Any) -> lp.Pruning:
    return lp.Pruning(0.5, **{"schedule": lp.Linear(start_epoch=0, end_epoch=2), **options})


def test_the_figures_of_a_compaction_are_metrics_of_the_trainer(package: Any) -> None:
    compaction = lp.Compaction()
    metrics = fit(package, pruning(allow_unused=True), compaction).callback_metrics
    assert compaction.report is not None
    noted = {key: float(v) for key, v in metrics.items() if key.startswith("compaction/")}
    assert noted == compaction.report.metrics()
    assert {"compaction/params_after", "compaction/speedup"} <= noted.keys()


def test_every_callback_is_one(package: Any) -> None:
    kinds = (lp.AccuracyGuard, lp.Compaction, lp.LatencyMonitor, lp.Pruning, lp.SparsityMonitor)
    assert all(issubclass(kind, package.Callback) for kind in kinds)


def test_classes_are_those_of_both(package: Any) -> None:
    assert package.callbacks.EarlyStopping in classes("callbacks", "EarlyStopping")
    assert classes("strategies", "NoSuchStrategy") == ()


@pytest.mark.parametrize(
    "content", ["raise AttributeError", "import no_such_package", "rank_zero.log = None"]
)
def test_a_package_of_that_name_changes_nothing(
    content: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    text = f"from lightning_utilities.core import rank_zero\n{content}\n"
    (tmp_path / "pytorch_lightning.py").write_text(text)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "pytorch_lightning")
    before = rank_zero.log
    assert len(_imported()) == (2 if "log" in content else 1)
    assert rank_zero.log is before


def test_the_other_package_need_not_be_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pytorch_lightning", None)
    assert _imported() == [lightning.pytorch]


def test_the_model_becomes_smaller_and_is_measured(package: Any) -> None:
    latency = lp.LatencyMonitor(warmup_runs=0, min_runs=1, max_seconds=1e-9)
    compaction = lp.Compaction(monitor="accuracy", mode="max", latency=False)
    only_body = pruning(exclude=["training_head"])
    trainer = fit(package, only_body, compaction, lp.SparsityMonitor(), latency)
    assert trainer.lightning_module.body[0].weight.shape == (UNITS // 2, 4)
    assert trainer.lightning_module.training_head.weight.shape == (2, UNITS // 2)
    measured = {"pruning/sparsity", "sparsity/total", "latency/p50_ms"}
    assert measured <= trainer.callback_metrics.keys()
    assert compaction.report is not None
    trainer.validate(trainer.lightning_module, verbose=False)


@pytest.mark.filterwarnings("ignore:.*callbacks used to create the checkpoint")
def test_a_resumed_run_ends_like_an_uninterrupted_one(package: Any, tmp_path: Path) -> None:
    save = package.callbacks.ModelCheckpoint(tmp_path, filename="{epoch}", save_top_k=-1)
    whole, resumed = pruning(), pruning()
    first = fit(package, whole, save, enable_checkpointing=True)
    second = fit(package, resumed, ckpt_path=tmp_path / "epoch=1.ckpt")
    assert whole.pruner is not None
    assert resumed.pruner is not None
    assert whole.pruner.masks.fingerprint() == resumed.pruner.masks.fingerprint()
    for a, b in zip(
        first.lightning_module.parameters(), second.lightning_module.parameters(), strict=True
    ):
        assert torch.equal(a, b)


@pytest.mark.filterwarnings("ignore:.*to reach sparsity 0.5")
@pytest.mark.parametrize(
    ("restart", "epochs"),
    [pytest.param(False, 1 + 2, id="stops"), pytest.param(True, 4 + 1 + 2, id="waits")],
)
def test_early_stopping_waits_for_the_last_update(package: Any, restart: bool, epochs: int) -> None:
    stop = package.callbacks.EarlyStopping("accuracy", mode="max", patience=2)
    update = lp.OneShot(epoch=4)
    trainer = fit(
        package, pruning(schedule=update, restart_early_stopping=restart), stop, max_epochs=9
    )
    assert trainer.current_epoch == epochs


def test_epochs_are_not_counted_while_accumulation_varies(package: Any) -> None:
    scheduler = package.callbacks.GradientAccumulationScheduler({0: 4})
    callback = pruning(schedule=lp.OneShot(epoch=4))
    fit(package, callback, scheduler, max_steps=6, max_epochs=-1)
    assert callback.report is not None


@pytest.mark.parametrize("average", AVERAGES)
def test_averages_are_sparse_and_give_way_to_the_compact_model(package: Any, average: str) -> None:
    kind = getattr(package.callbacks, average, None)
    if kind is None:
        pytest.skip("older versions have no such callback")
    compaction = lp.Compaction(latency=False)
    trainer = fit(package, pruning(), kind(**AVERAGES[average]), compaction)
    assert trainer.lightning_module.body[0].weight.shape == (UNITS // 2, 4)


def test_the_guard_keeps_what_was_good(package: Any) -> None:
    callback = pruning(schedule=lp.Linear(start_epoch=1, end_epoch=5))
    guard = lp.AccuracyGuard("accuracy", max_drop=0.35, patience=1, action="stop")
    trainer = fit(package, callback, guard, max_epochs=8)
    assert callback.pruner is not None
    # Linear over epochs 1 to 5; the metric of epoch 4 is 0.6, that of epoch 3 the last good one.
    assert callback.pruner.sparsity == pytest.approx(0.25, abs=1 / UNITS)
    assert trainer.current_epoch < 8


@pytest.mark.parametrize("name", ["SingleDeviceStrategy", "DDPStrategy", "ModelParallelStrategy"])
def test_strategies_that_were_tried_are_welcome(package: Any, name: str) -> None:
    check_strategy(SimpleNamespace(strategy=getattr(package.strategies, name)()), "Pruning")


def test_a_strategy_that_was_not_tried_is_refused(package: Any) -> None:
    trainer: Any = SimpleNamespace(strategy=package.strategies.FSDPStrategy())
    with pytest.raises(ValueError, match="but got FSDPStrategy"):
        check_strategy(trainer, "Pruning")


QUIET = ("logger", "enable_checkpointing", "enable_progress_bar", "enable_model_summary")
GIVEN = ["--trainer.callbacks=Pruning", "--trainer.callbacks.sparsity=0.5"]
CONFIG = [
    {"class_path": "lightning_prune.Pruning", "init_args": {"sparsity": 0.5, "criterion": "Taylor"}}
]


@pytest.mark.parametrize("written", ["short names", "class paths"])
def test_the_command_line_builds_callbacks(
    package: Any, written: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(sys, "argv", ["train.py"])
    # lightning calls a deprecated method of jsonargparse
    monkeypatch.setenv("JSONARGPARSE_DEPRECATION_WARNINGS", "off")
    config = tmp_path / "config.yaml"
    config.write_text(yaml.safe_dump({"trainer": {"callbacks": CONFIG}}))
    short = [*GIVEN, "--trainer.callbacks.criterion=Taylor"]
    cli = import_module(f"{package.__name__}.cli").LightningCLI(
        net_of(package),
        args=[
            "fit",
            *([f"--config={config}"] if written == "class paths" else short),
            "--trainer.callbacks+=lightning_prune.Compaction",
            "--trainer.callbacks.latency=false",
            *(f"--trainer.{name}=false" for name in QUIET),
            "--trainer.accelerator=cpu",
            "--trainer.max_epochs=2",
        ],
        save_config_callback=None,
        seed_everything_default=0,
    )
    (callback,) = [c for c in cli.trainer.callbacks if isinstance(c, lp.Pruning)]
    assert callback.recipe.criterion == lp.Taylor()
    assert cli.model.body[0].weight.shape == (UNITS // 2, 4)
