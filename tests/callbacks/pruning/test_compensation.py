"""Compensation while a Trainer trains, on real data."""

from typing import Any

import lightning as L
import pytest
import torch
from sklearn.datasets import load_digits
from torch import Tensor, nn
from torch.utils.data import DataLoader, IterableDataset, TensorDataset

import lightning_prune as lp


def digits() -> TensorDataset:
    found = load_digits()
    images = torch.tensor(found.images[:800], dtype=torch.float32).unsqueeze(1) / 16
    return TensorDataset(images, torch.tensor(found.target[:800]))


class Net(L.LightningModule):
    def __init__(self, rate: float = 1e-2) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.rate = rate
        self.net = nn.Sequential(
            nn.Conv2d(1, 16, 3),
            nn.BatchNorm2d(16),
            nn.ReLU(),
            nn.Conv2d(16, 16, 3),
            nn.BatchNorm2d(16),
            nn.ReLU(),
            nn.Flatten(),
            nn.Linear(256, 10),
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x)

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        loss = nn.functional.cross_entropy(self(batch[0]), batch[1])
        self.log("loss", loss)
        return loss

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.Adam(self.parameters(), lr=self.rate)


class LossAfterTheUpdate(L.Callback):
    """Measures the loss right after an update, before the next step."""

    def __init__(self) -> None:
        self.loss = 0.0

    def on_train_batch_start(self, trainer: L.Trainer, pl_module: Any, batch: Any, i: int) -> None:
        if trainer.current_epoch == 2 and i == 0:
            images, targets = digits().tensors
            with torch.no_grad():
                output = pl_module.eval()(images)
            pl_module.train()
            self.loss = float(nn.functional.cross_entropy(output, targets))


def train(model: L.LightningModule, *callbacks: L.Callback, data: Any = None) -> None:
    loader = DataLoader(digits(), 50, shuffle=True, generator=torch.Generator().manual_seed(0))
    trainer = L.Trainer(
        accelerator="cpu",
        max_epochs=3,
        callbacks=list(callbacks),
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(model, loader if data is None else data)


def pruning(**options: Any) -> lp.Pruning:
    return lp.Pruning(0.6, lp.Magnitude(), schedule=lp.OneShot(epoch=2), of="units", **options)


def test_right_after_the_cut_less_is_lost() -> None:
    losses = []
    ways = ({"renew_norms": False}, {}, {"compensation": lp.LeastSquares()})
    for options in ways:
        after = LossAfterTheUpdate()
        train(Net(), pruning(**options), after)
        losses.append(after.loss)
    raw, norms, fitted = losses
    assert fitted < 0.5 * norms
    assert norms < raw


class Augmented(Net):
    """Its training step draws which images are mirrored, and how bright they are between layers."""

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        mirrored = torch.rand(len(batch[0]), 1, 1, 1) < 0.5
        images = torch.where(mirrored, batch[0].flip(-1), batch[0])
        features = self.net[:3](images)
        outputs = self.net[3:](features * (0.5 + torch.rand(len(images), 1, 1, 1)))
        return nn.functional.cross_entropy(outputs, batch[1])


def test_both_models_see_the_same_augmentations() -> None:
    lost = []
    for model in (Net(), Augmented()):
        callback = pruning(compensation=lp.LeastSquares(), renew_norms=False)
        train(model, callback)
        assert callback.report is not None
        assert callback.report.compensated is not None
        lost.append(max(after for _, after in callback.report.compensated.errors.values()))
    assert lost[1] < 1.5 * lost[0]


def test_what_was_fitted_compacts_exactly_and_masks_hold() -> None:
    model, callback = Net(), pruning(compensation=lp.LeastSquares())
    compaction = lp.Compaction(latency=False)
    train(model, callback, compaction)
    assert callback.report is not None
    assert callback.report.compensated is not None
    assert callback.report.compensated.skipped == {}
    assert len(callback.report.compensated.errors) == 2
    assert compaction.report is not None
    assert compaction.report.max_rel_error < 1e-4
    assert model.net[3].in_channels < 16


def test_the_order_of_the_training_data_stays_the_same() -> None:
    seen: list[list[int]] = []

    class Order(L.Callback):
        def on_train_batch_start(self, trainer: Any, module: Any, batch: Any, i: int) -> None:
            seen[-1].extend(batch[1].tolist())

    for options in ({"renew_norms": False}, {"compensation": lp.LeastSquares()}):
        seen.append([])
        train(Net(), pruning(**options), Order())
    assert seen[0] == seen[1]


class Stream(IterableDataset[Any]):
    def __iter__(self) -> Any:
        return iter(digits())


def test_a_stream_of_data_takes_calibration_batches() -> None:
    data = DataLoader(Stream(), 50)
    with pytest.raises(ValueError, match="Expected `calibration` to be given for LeastSquares"):
        train(Net(), pruning(compensation=lp.LeastSquares()), data=data)
    batches = list(DataLoader(digits(), 100))
    callback = pruning(compensation=lp.LeastSquares(), calibration=batches)
    train(Net(), callback, data=data)
    assert callback.report is not None
    assert callback.report.compensated is not None
    assert len(callback.report.compensated.errors) == 2


def test_without_such_data_norms_stay() -> None:
    callback = pruning()
    train(Net(), callback, data=DataLoader(Stream(), 50))
    assert callback.report is not None
    assert callback.report.compensated is None


class Unreadable(TensorDataset):
    """A data set that only its own sampler can read."""

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, int):
            raise KeyError(index)
        return super().__getitem__(int(index[1:]))


def test_data_that_cannot_be_read_in_any_order_leave_the_norms_with_a_warning() -> None:
    names = [f"n{index}" for index in range(800)]
    data = DataLoader(Unreadable(*digits().tensors), 50, sampler=names)
    callback = pruning()
    with pytest.warns(UserWarning, match="to estimate the statistics of its batch norms anew"):
        train(Net(), callback, data=data)
    assert callback.report is not None
    assert callback.report.sparsity > 0.5


class Manual(Net):
    """Optimizes by itself, and has no forward that takes a batch."""

    def __init__(self) -> None:
        super().__init__()
        self.automatic_optimization = False

    def forward(self, *args: Any) -> Any:
        raise NotImplementedError

    def training_step(self, batch: Any, batch_idx: int) -> None:
        optimizer = self.optimizers()
        optimizer.zero_grad()
        self.manual_backward(nn.functional.cross_entropy(self.net(batch[0]), batch[1]))
        optimizer.step()

    def predict_step(self, batch: Any, batch_idx: int) -> Tensor:
        return self.net(batch[0])


@pytest.mark.filterwarnings("ignore:The training step of Manual is not coupled")
def test_a_module_that_optimizes_by_itself_is_pruned_as_before() -> None:
    callback = pruning()
    train(Manual(), callback)
    assert callback.report is not None
    assert callback.report.sparsity > 0.5
