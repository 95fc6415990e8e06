"""Calibration data are batches of the training's own data, however its loader makes them."""

from collections.abc import Callable
from typing import Any

import lightning as L
import pytest
import torch
from support.fits import make_trainer
from torch import Tensor, nn
from torch.utils.data import BatchSampler, DataLoader, Dataset, RandomSampler, TensorDataset

import lightning_prune as lp
from lightning_prune.callbacks.trainer.calibration import calibration_in_training
from lightning_prune.errors import ExampleInputsError

X = torch.randn(40, 3, generator=torch.Generator().manual_seed(0))
Y = torch.arange(40) % 2


class Net(L.LightningModule):
    """Notes what its layers are given while it is not trained."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.net = nn.Sequential(nn.Linear(3, 8), nn.ReLU(), nn.Linear(8, 2))
        self.example_input_array = torch.ones(1, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x)

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        rows, _ = batch[0].shape
        return nn.functional.cross_entropy(self(batch[0]), batch[1].view(rows))

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.1)


class Manual(Net):
    """Its training step cannot be run alone; `forward` takes what a batch begins with."""

    def __init__(self) -> None:
        super().__init__()
        self.automatic_optimization = False

    def training_step(self, batch: Any, batch_idx: int) -> None:
        optimizer = self.optimizers()
        loss = nn.functional.cross_entropy(self(batch[0]), batch[1])
        optimizer.zero_grad()
        self.manual_backward(loss)
        optimizer.step()


class TakesAll(Manual):
    """Its `forward` takes all of a batch."""

    def forward(self, x: Tensor, y: Tensor | None = None) -> Tensor:
        if y is None and len(x) > 1:
            raise ValueError("targets are missing")
        return self.net(x)

    def training_step(self, batch: Any, batch_idx: int) -> None:
        self(*batch)


class WholeBatches(Dataset[Any]):
    """Its items are batches."""

    def __len__(self) -> int:
        return 4

    def __getitem__(self, index: int) -> Any:
        rows = slice(10 * index, 10 * index + 10)
        return X[rows], Y[rows]


class Unlike(WholeBatches):
    """Its items are of a kind that no step takes."""

    def __getitem__(self, index: int) -> Any:
        return (X[index].view(1, 1, 3).expand(2, 5, 3)[..., :2], Y[:2])


DATA = TensorDataset(X, Y)
LOADERS: dict[str, Callable[[], DataLoader[Any]]] = {
    "batch size": lambda: DataLoader(DATA, 10, shuffle=True),
    "sampler of batches": lambda: DataLoader(
        DATA, batch_sampler=BatchSampler(RandomSampler(DATA), 10, drop_last=False)
    ),
    "sampler of indices for one item": lambda: DataLoader(
        DATA, batch_size=None, sampler=BatchSampler(RandomSampler(DATA), 10, drop_last=True)
    ),
    "items are batches": lambda: DataLoader(WholeBatches(), batch_size=None),
}


def fit(model: L.LightningModule, loader: DataLoader[Any], *callbacks: L.Callback) -> L.Trainer:
    trainer = make_trainer(*callbacks, epochs=1)
    trainer.fit(model, loader)
    return trainer


def rows_seen(model: L.LightningModule, loader: DataLoader[Any]) -> Tensor:
    """Return all rows on which calibration runs a copy of the model."""
    trainer = fit(model, loader)
    calibration = calibration_in_training(trainer, model, None, 40)
    assert calibration is not None
    seen: list[Tensor] = []
    model.net.register_forward_pre_hook(lambda module, args: seen.append(args[0]))
    for run in calibration.runs():
        run(model)
    return torch.cat(seen)


@pytest.mark.parametrize("loader", LOADERS.values(), ids=LOADERS)
@pytest.mark.parametrize("model", [Net, Manual, TakesAll])
def test_the_model_runs_on_every_example_once(
    model: Callable[[], L.LightningModule], loader: Callable[[], DataLoader[Any]]
) -> None:
    assert torch.equal(rows_seen(model(), loader()), X)


def cut(**options: Any) -> lp.Pruning:
    return lp.Pruning(0.5, lp.Magnitude(), schedule=lp.OneShot(step=2), of="units", **options)


def test_data_that_no_step_takes_are_refused_at_the_start() -> None:
    with pytest.raises(ExampleInputsError, match="a step or `forward` of Net runs by itself"):
        fit(Net(), DataLoader(Unlike(), batch_size=None), cut(compensation=lp.LeastSquares()))


def test_candidates_that_cannot_be_compared_are_refused_at_the_start() -> None:
    with pytest.raises(ValueError, match="Expected a `training_step` that gives the loss"):
        fit(Manual(), LOADERS["batch size"](), cut_by_measurement())


def cut_by_measurement() -> lp.Pruning:
    auto = lp.Auto([lp.Magnitude(), lp.Random()])
    return lp.Pruning(0.5, auto, schedule=lp.OneShot(step=2), of="units")
