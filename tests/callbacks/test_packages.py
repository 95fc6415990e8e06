"""Modules of other packages, under their own namespace, are pruned and compacted as they are."""

from __future__ import annotations

import copy
import importlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

import lightning_prune as lp

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]  # theirs

PLAIN: dict[str, Any] = {
    "accelerator": "cpu",
    "enable_checkpointing": False,
    "enable_model_summary": False,
    "enable_progress_bar": False,
    "logger": False,
}


def callbacks() -> list[Any]:
    return [lp.Pruning(0.5, schedule=lp.OneShot(epoch=1)), lp.Compaction(latency=False)]


def check(found: Sequence[Any], at_most: float = 0.75) -> None:
    """The callbacks of a fit have removed something, and nothing differs."""
    (compaction,) = (one for one in found if isinstance(one, lp.Compaction))
    report = compaction.report
    assert report is not None
    assert report.params_after < at_most * report.params_before
    assert report.max_rel_error <= 1e-4


@pytest.mark.parametrize("name", ["NHiTS", "TemporalFusionTransformer"])
def test_pytorch_forecasting(name: str) -> None:
    package = pytest.importorskip("pytorch_forecasting")
    L = importlib.import_module("lightning.pytorch")  # noqa: N806
    pandas = importlib.import_module("pandas")
    values = np.random.default_rng(0).normal(size=120).astype("float32")
    groups = np.repeat(["a", "b"], 60)
    frame = pandas.DataFrame({"t": [*range(60), *range(60)], "group": groups, "value": values})
    known = {"time_varying_known_reals": ["t"]} if name != "NHiTS" else {}
    data = package.TimeSeriesDataSet(
        frame,
        "t",
        "value",
        ["group"],
        max_encoder_length=12,
        max_prediction_length=4,
        time_varying_unknown_reals=["value"],
        **known,
    )
    model = getattr(package, name).from_dataset(data, hidden_size=8)
    trainer = L.Trainer(max_epochs=2, limit_train_batches=3, callbacks=callbacks(), **PLAIN)
    trainer.fit(model, data.to_dataloader(train=True, batch_size=16, num_workers=0))
    check(trainer.callbacks)
    batches = data.to_dataloader(train=False, batch_size=8, num_workers=0)
    assert model.predict(batches, trainer_kwargs=dict(PLAIN)).shape[1] == 4


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("TCNModel", {"num_filters": 8, "kernel_size": 3}),
        ("NBEATSModel", {"num_stacks": 2, "num_blocks": 1, "layer_widths": 16}),
    ],
)
def test_darts(name: str, options: Any) -> None:
    models = pytest.importorskip("darts.models")
    series = importlib.import_module("darts").TimeSeries
    values = np.sin(np.arange(200) / 7).astype(np.float32)
    ours = callbacks()
    model = getattr(models, name)(
        input_chunk_length=16,
        output_chunk_length=4,
        n_epochs=2,
        pl_trainer_kwargs={**PLAIN, "callbacks": ours},
        **options,
    )
    model.fit(series.from_values(values))
    check(model.trainer.callbacks)
    assert len(model.predict(4, series=series.from_values(values))) == 4


@pytest.mark.parametrize("namespace", ["lightning.pytorch", "pytorch_lightning"])
@pytest.mark.parametrize("name", ["Unet", "FPN", "DeepLabV3Plus", "Segformer"])
def test_segmentation_models(name: str, namespace: str) -> None:
    package = pytest.importorskip("segmentation_models_pytorch")
    L = pytest.importorskip(namespace)  # noqa: N806

    class Segments(L.LightningModule):  # type: ignore[misc]
        """Batches are dicts, as in torchgeo; losses and metrics are the package's."""

        def __init__(self) -> None:
            super().__init__()
            self.model = getattr(package, name)("resnet18", encoder_weights=None, classes=3)
            self.loss = package.losses.DiceLoss("multiclass", from_logits=True)

        def forward(self, *args: Any, **kwargs: Any) -> Any:
            return self.model(*args, **kwargs)

        def training_step(self, batch: Any, batch_idx: int) -> Tensor:
            predicted, mask = self(batch["image"]), batch["mask"]
            counts = package.metrics.get_stats(
                predicted.argmax(1), mask, mode="multiclass", num_classes=3
            )
            self.log("iou", package.metrics.iou_score(*counts, reduction="micro"))
            return self.loss(predicted, mask)

        def predict_step(self, batch: Any, batch_idx: int) -> Tensor:
            return self(batch["image"]).softmax(1)

        def configure_optimizers(self) -> Any:
            return torch.optim.Adam(self.parameters(), 1e-3)

    image, mask = torch.randn(3, 64, 64), torch.randint(0, 3, (64, 64))
    loader = DataLoader([{"image": image, "mask": mask, "name": "x"}] * 4, batch_size=2)
    trainer, model = L.Trainer(max_epochs=2, callbacks=callbacks(), **PLAIN), Segments()
    trainer.fit(model, loader)
    check(trainer.callbacks)
    assert trainer.predict(model, loader)[0].shape == (2, 3, 64, 64)


@pytest.mark.parametrize("name", ["SemanticSegmentationTask", "ClassificationTask"])
def test_torchgeo(name: str) -> None:
    trainers = pytest.importorskip("torchgeo.trainers")
    L = importlib.import_module("lightning.pytorch")  # noqa: N806
    segments = name == "SemanticSegmentationTask"
    options = {"model": "unet", "backbone": "resnet18"} if segments else {"model": "resnet18"}
    model = getattr(trainers, name)(in_channels=3, num_classes=3, task="multiclass", **options)
    target = torch.randint(0, 3, (64, 64)) if segments else torch.tensor(1)
    sample = {"image": torch.randn(3, 64, 64), "mask" if segments else "label": target}
    loader = DataLoader([sample] * 4, batch_size=2)
    trainer = L.Trainer(max_epochs=2, callbacks=callbacks(), **PLAIN)
    trainer.fit(model, loader, loader)
    check(trainer.callbacks)
    assert trainer.predict(model, loader)[0].shape[:2] == (2, 3)


def test_the_byol_of_lightly() -> None:
    heads = pytest.importorskip("lightly.models.modules")
    utils = importlib.import_module("lightly.models.utils")
    loss = importlib.import_module("lightly.loss")
    L = importlib.import_module("pytorch_lightning")  # noqa: N806

    class Byol(L.LightningModule):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.backbone = nn.Sequential(
                nn.Conv2d(3, 16, 3, 2),
                nn.BatchNorm2d(16),
                nn.ReLU(),
                nn.Conv2d(16, 32, 3, 2),
                nn.ReLU(),
                nn.AdaptiveAvgPool2d(1),
                nn.Flatten(),
            )
            self.projection_head = heads.BYOLProjectionHead(32, 64, 16)
            self.prediction_head = heads.BYOLPredictionHead(16, 32, 16)
            self.backbone_momentum = copy.deepcopy(self.backbone)
            self.projection_head_momentum = copy.deepcopy(self.projection_head)
            utils.deactivate_requires_grad(self.backbone_momentum)
            utils.deactivate_requires_grad(self.projection_head_momentum)
            self.criterion = loss.NegativeCosineSimilarity()

        def forward(self, x: Tensor) -> Any:
            return self.prediction_head(self.projection_head(self.backbone(x)))

        def taught(self, x: Tensor) -> Any:
            return self.projection_head_momentum(self.backbone_momentum(x)).detach()

        def training_step(self, batch: Any, batch_idx: int) -> Any:
            utils.update_momentum(self.backbone, self.backbone_momentum, m=0.9)
            utils.update_momentum(self.projection_head, self.projection_head_momentum, m=0.9)
            one, other = batch[0]
            first = self.criterion(self(one), self.taught(other))
            return 0.5 * (first + self.criterion(self(other), self.taught(one)))

        def predict_step(self, batch: Any, batch_idx: int) -> Any:
            return self.backbone(batch[0][0])

        def configure_optimizers(self) -> Any:
            return torch.optim.SGD(self.parameters(), lr=0.06)

    views = [((torch.randn(3, 16, 16), torch.randn(3, 16, 16)), 0) for _ in range(16)]
    trainer = L.Trainer(max_epochs=2, callbacks=callbacks(), **PLAIN)
    model, loader = Byol(), DataLoader(views, batch_size=8)  # type: ignore[arg-type]
    trainer.fit(model, loader)
    check(trainer.callbacks)
    assert trainer.predict(model, loader)[0].shape[0] == 8
    L.Trainer(max_epochs=1, **PLAIN).fit(model, loader)


@pytest.mark.parametrize("restore_best", [False, True])
def test_finetuning_scheduler(restore_best: bool, tmp_path: Path) -> None:
    package = pytest.importorskip("finetuning_scheduler")
    L = importlib.import_module("lightning.pytorch")  # noqa: N806

    class Classifier(L.LightningModule):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            layers = nn.Linear(16, 32), nn.ReLU(), nn.Linear(32, 16), nn.ReLU(), nn.Linear(16, 2)
            self.net = nn.Sequential(*layers)

        def forward(self, x: Tensor) -> Any:
            return self.net(x)

        def training_step(self, batch: Any, batch_idx: int) -> Tensor:
            return nn.functional.cross_entropy(self(batch[0]), batch[1])

        def validation_step(self, batch: Any, batch_idx: int) -> None:
            self.log("val_loss", nn.functional.cross_entropy(self(batch[0]), batch[1]))

        def predict_step(self, batch: Any, batch_idx: int) -> Any:
            return self(batch[0])

        def configure_optimizers(self) -> Any:
            return torch.optim.Adam([p for p in self.parameters() if p.requires_grad], 0.01)

    x = torch.randn(64, 16)
    loader, model = DataLoader(TensorDataset(x, (x[:, 0] > 0).long()), 16), Classifier()
    phases = [
        package.FinetuningScheduler(restore_best=restore_best),
        package.FTSEarlyStopping("val_loss", patience=1, min_delta=0.05),
        package.FTSCheckpoint(monitor="val_loss", save_top_k=1),
    ]
    options = {**PLAIN, "enable_checkpointing": True, "default_root_dir": tmp_path}
    trainer = L.Trainer(max_epochs=30, callbacks=[*phases, *callbacks()], **options)
    trainer.fit(model, loader, loader)
    assert all(parameter.requires_grad for parameter in model.parameters())
    check(trainer.callbacks, 0.8)
    assert L.Trainer(**PLAIN).predict(model, loader)[0].shape == (16, 2)


@pytest.mark.parametrize("name", ["NHITS", "LSTM"])
def test_neuralforecast(name: str) -> None:
    package = pytest.importorskip("neuralforecast")
    pandas = importlib.import_module("pandas")
    kind = getattr(importlib.import_module("neuralforecast.models"), name)
    values = np.sin(np.arange(240) / 5) + np.random.default_rng(0).normal(size=240)
    days = [*pandas.date_range("2020-01-01", periods=120)] * 2
    groups = np.repeat(["a", "b"], 120)
    frame = pandas.DataFrame({"unique_id": groups, "ds": days, "y": values.astype("float32")})
    small = {"mlp_units": [[32, 32]] * 3} if name == "NHITS" else {"encoder_hidden_size": 16}
    ours = [lp.Pruning(0.5, schedule=lp.OneShot(step=4)), lp.Compaction(latency=False)]
    model = kind(h=6, input_size=24, max_steps=8, callbacks=ours, **small, **PLAIN)
    forecast = package.NeuralForecast(models=[model], freq="D")
    forecast.fit(frame)
    check(forecast.models[0].trainer_kwargs["callbacks"])
    assert len(forecast.predict()) == 12
