"""Every way of optimizing: the target is reached, dead stays dead, and checkpoints are sparse."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import lightning as L
import pytest
import torch
from lightning.pytorch.callbacks import ModelCheckpoint, Timer
from lightning.pytorch.plugins import MixedPrecision
from lightning.pytorch.tuner import Tuner
from support.fits import (
    BATCHES,
    OPTIMIZERS,
    Net,
    NotedScores,
    Validated,
    Watch,
    data,
    fit,
    make_trainer,
)

from lightning_prune.callbacks.pruning.callback import Pruning
from lightning_prune.criteria import Criterion, Fisher, Gradient, Magnitude, Taylor
from lightning_prune.granularities import Channel, Weight
from lightning_prune.schedules import Linear, OneShot

PRECISIONS: dict[str, Any] = {
    "32": lambda: {"precision": "32-true"},
    "bf16-mixed": lambda: {"precision": "bf16-mixed"},
    "bf16-true": lambda: {"precision": "bf16-true"},
    "16-mixed": lambda: {"plugins": [_with_scaler()]},
}
TRAINERS: dict[str, dict[str, Any]] = {
    "plain": {},
    "accumulated": {"accumulate_grad_batches": 2},
    "clipped by norm": {"gradient_clip_val": 0.1},
    "clipped by value": {"gradient_clip_val": 0.01, "gradient_clip_algorithm": "value"},
}


def _with_scaler() -> MixedPrecision:
    """Float16 with loss scaling as on a GPU; the first scale overflows."""
    return MixedPrecision("16-mixed", "cpu", torch.amp.GradScaler("cpu", init_scale=2.0**20))


def scaled_clipping(optimizer: str, precision: str, trainer: str) -> bool:
    """Lightning cannot clip what fused optimizers unscale themselves, nor scale for LBFGS."""
    fused = optimizer == "fused" and trainer.startswith("clipped")
    return (precision.endswith("mixed") and fused) or (precision, optimizer) == (
        "16-mixed",
        "LBFGS",
    )


CASES = [
    (optimizer, precision, trainer)
    for i, optimizer in enumerate(OPTIMIZERS)
    for j, precision in enumerate(PRECISIONS)
    for k, trainer in enumerate(TRAINERS)
    # Every pair of two of the three, not every triple.
    if (i + j + k) % 2 == 0 and not scaled_clipping(optimizer, precision, trainer)
]


@pytest.mark.parametrize(("optimizer", "precision", "trainer"), CASES)
def test_every_way_of_optimizing(
    optimizer: str, precision: str, trainer: str, tmp_path: Path
) -> None:
    model = Net(optimizer)
    schedule = Linear(start_epoch=0, end_epoch=2)
    include = ["head"] if optimizer == "Muon" else ["body.*"]
    pruning = Pruning(0.5, granularity=Weight(), schedule=schedule, include=include)
    watch = Watch(pruning)
    save = ModelCheckpoint(tmp_path, filename="x")
    options = {**TRAINERS[trainer], **PRECISIONS[precision]()}
    fit(model, pruning, watch, save, epochs=3, enable_checkpointing=True, **options)
    assert watch.revived == 0
    assert pruning.pruner is not None
    assert watch.seen[-1] == pruning.pruner.sparsity == pytest.approx(0.5, abs=1 / 576)
    state = torch.load(tmp_path / "x.ckpt", weights_only=True)["state_dict"]
    for name, mask in pruning.pruner.masks.items():
        assert torch.equal(state[name] != 0, mask)
        assert state[name].isfinite().all()


class ScaledLoss(MixedPrecision):
    """Scales the loss by a power of two that doubles with every step; computes in float32."""

    def __init__(self) -> None:
        scaler = torch.amp.GradScaler("cpu", init_scale=1024.0, growth_interval=1)
        super().__init__("16-mixed", "cpu", scaler)

    def forward_context(self) -> AbstractContextManager[None]:
        return nullcontext()


@pytest.mark.parametrize("optimizer", ["fused", "AdamW"])
@pytest.mark.parametrize("criterion", [Gradient(), Taylor(), Fisher()], ids=str)
def test_scores_do_not_depend_on_the_scale_of_the_loss(
    criterion: Criterion, optimizer: str
) -> None:
    """A fused optimizer unscales within its step, so `Pruning` has to."""
    scores = []
    for plugins in ([], [ScaledLoss()]):
        pruning = Pruning(0.5, criterion, granularity=Weight(), schedule=OneShot(epoch=1))
        noted = NotedScores(pruning)
        fit(Net(optimizer), pruning, noted, epochs=2, plugins=plugins)
        scores.append(noted.first)
    torch.testing.assert_close(*scores)


@pytest.mark.parametrize("granularity", [Weight(), Channel()], ids=str)
def test_a_whole_compiled_module(granularity: Any) -> None:
    model = Net("AdamW")
    pruning = Pruning(0.5, granularity=granularity)
    watch = Watch(pruning)
    fit(torch.compile(model, backend="eager"), pruning, watch, epochs=2)
    assert watch.revived == 0
    assert watch.seen[-1] == pytest.approx(0.5, abs=0.1)
    assert model.body[1].num_batches_tracked == 2 * BATCHES  # recording it has run copies only


class Gan(L.LightningModule):
    """Two networks trained in turns by two optimizers."""

    def __init__(self) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.generator = torch.nn.Sequential(
            torch.nn.Linear(3, 8), torch.nn.ReLU(), torch.nn.Linear(8, 4)
        )
        self.critic = torch.nn.Sequential(
            torch.nn.Linear(4, 6), torch.nn.ReLU(), torch.nn.Linear(6, 1)
        )
        self.example_input_array = torch.zeros(2, 3)

    def forward(self, z: torch.Tensor) -> torch.Tensor:
        return self.critic(self.generator(z))

    def training_step(self, batch: Any, batch_idx: int) -> None:
        real = batch[0].flatten(1)[:, :4]
        drawn = self.generator(real[:, :3])  # differentiated after the critic's step
        one, two = self.optimizers()
        loss = self.critic(drawn.detach()).mean() - self.critic(real).mean()
        two.zero_grad()
        self.manual_backward(loss)
        two.step()
        one.zero_grad()
        self.manual_backward(-self.critic(drawn).mean())
        one.step()

    def configure_optimizers(self) -> Any:
        return [
            torch.optim.Adam(self.generator.parameters(), lr=0.01),
            torch.optim.RMSprop(self.critic.parameters(), lr=0.01),
        ]


@pytest.mark.filterwarnings("ignore:The training step of Gan .* optimizes manually")
@pytest.mark.parametrize("granularity", [Weight(), Channel()], ids=str)
def test_two_networks_pruned_by_two_callbacks(granularity: Any) -> None:
    first = Pruning(
        0.5,
        granularity=granularity,
        include=["generator.*"],
        name="generator",
        schedule=Linear(start_epoch=0, end_epoch=2),
    )
    second = Pruning(0.3, Magnitude(), granularity=granularity, include=["critic.*"], name="critic")
    watches = Watch(first), Watch(second)
    metrics = fit(Gan(), first, second, *watches, epochs=3).callback_metrics
    assert [watch.revived for watch in watches] == [0, 0]
    assert metrics["generator/sparsity"].item() == pytest.approx(0.5, abs=0.07)
    assert metrics["critic/sparsity"].item() == pytest.approx(0.3, abs=0.09)


class Tuned(Net):
    def __init__(self) -> None:
        super().__init__()
        self.lr, self.batch_size = 0.1, 2

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.parameters(), lr=self.lr, momentum=0.9)

    def train_dataloader(self) -> Any:
        return torch.utils.data.DataLoader(data().dataset, batch_size=self.batch_size)


@pytest.mark.parametrize("tune", ["lr_find", "scale_batch_size"])
def test_tuning_leaves_the_pruning_alone(
    tune: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    model, pruning = Tuned(), Pruning(0.5, granularity=Weight())
    watch = Watch(pruning)
    trainer = make_trainer(pruning, watch, default_root_dir=tmp_path)
    options = {"num_training": 8} if tune == "lr_find" else {"max_trials": 1, "steps_per_trial": 2}
    getattr(Tuner(trainer), tune)(model, **options)
    assert watch.seen == []
    assert model.body[3].weight.all()
    trainer.fit(model)
    assert watch.seen[0] == 0.0
    assert watch.revived == 0
    assert watch.seen[-1] == pytest.approx(0.5, abs=0.001)


@pytest.mark.parametrize(
    "options",
    [
        pytest.param({"overfit_batches": 2}, id="overfit_batches"),
        pytest.param({"epochs": -1, "max_steps": 12}, id="max_steps only"),
        pytest.param({"limit_train_batches": 0.5}, id="half of the batches"),
    ],
)
@pytest.mark.filterwarnings("ignore:You requested to overfit")
def test_other_lengths_reach_the_target(options: dict[str, Any]) -> None:
    pruning = Pruning(0.5, granularity=Weight())
    fit(Net(), pruning, **options)
    assert pruning.report is not None
    assert pruning.report.sparsity == pytest.approx(0.5, abs=0.001)


def test_a_run_that_runs_out_of_time_says_what_it_missed() -> None:
    pruning = Pruning(0.5, granularity=Weight(), schedule=OneShot(epoch=9))
    timer = Timer(duration={"microseconds": 1})
    with pytest.warns(UserWarning, match=r"reach sparsity 0\.5 at epoch 9, but got 0\.0000"):
        fit(Net(), pruning, timer, epochs=10)


def test_no_batches_prune_nothing() -> None:
    pruning = Pruning(0.5, granularity=Weight())
    fit(Net(), pruning, limit_train_batches=0)
    assert pruning.report is None


def test_validation_and_test_take_a_checkpoint(tmp_path: Path) -> None:
    save = ModelCheckpoint(tmp_path, filename="x")
    pruning = Pruning(0.5, granularity=Weight())
    model = Validated()
    trainer = make_trainer(pruning, save, enable_checkpointing=True)
    trainer.fit(model, data(), data())
    for evaluate in (trainer.validate, trainer.test):
        (result,) = evaluate(Validated(), data(), ckpt_path=tmp_path / "x.ckpt", verbose=False)
        (again,) = evaluate(model, data(), verbose=False)
        assert result == again
    # The state of the checkpoint is not the one of the next fit of the same model.
    watch = Watch(pruning)
    make_trainer(pruning, watch, epochs=2).fit(model, data(), data())
    assert watch.seen == pytest.approx([0.5] * 2 * BATCHES, abs=0.001)
    assert Gradient() == pruning.recipe.criterion
