"""A model that becomes compact while it trains ends as the one that is compacted in the end."""

from __future__ import annotations

import copy
import random
import signal
from pathlib import Path
from typing import Any

import lightning as L
import pytest
import torch
from lightning.pytorch.callbacks import EMAWeightAveraging, LambdaCallback, ModelCheckpoint
from support.fits import BATCHES, SAFELY, Validated, data, make_trainer
from torch import nn

import lightning_prune as lp
from lightning_prune.callbacks.compaction import in_training
from lightning_prune.errors import VerificationError

pytestmark = pytest.mark.filterwarnings(
    "ignore:Be aware that when using `ckpt_path`",
    "ignore:You're resuming from a checkpoint that",
    "ignore:Checkpoint directory .* exists and is not empty",
)

BY_EPOCH = lp.Linear(start_epoch=0, end_epoch=3)
BY_STEP = lp.Linear(start_step=2, end_step=14, every=3)


class Watch(L.Callback):
    """Notes the size of the model after every batch, and holds the optimizer's state to it."""

    def __init__(self) -> None:
        self.sizes: list[int] = []

    def on_train_batch_end(self, trainer: L.Trainer, pl_module: Any, *_: Any) -> None:
        self.sizes.append(sum(p.numel() for p in pl_module.parameters()))
        for optimizer in trainer.optimizers:
            for parameter, state in optimizer.state.items():
                for value in state.values():
                    if isinstance(value, torch.Tensor) and value.dim():
                        assert value.shape == parameter.shape


class Run:
    """One training: its model, its pruning and its compaction."""

    def __init__(
        self,
        *more: L.Callback,
        during: bool = True,
        optimizer: str = "AdamW",
        trainer: dict[str, Any] | None = None,
        fit: dict[str, Any] | None = None,
        min_gain: float = 0.05,
        **options: Any,
    ) -> None:
        # By Adam, what is rounding in the gradient of a bias before a norm becomes a step.
        self.model = Validated(optimizer).double()
        self.pruning = lp.Pruning(0.6, **{"schedule": BY_EPOCH, **options})
        self.compaction = lp.Compaction(during=during, min_gain=min_gain, latency=False)
        self.watch = Watch()
        callbacks = (self.pruning, self.compaction, self.watch, *more)
        self.trainer = make_trainer(*callbacks, precision="64-true", **(trainer or {}))
        self.trainer.fit(self.model, data(same=True), data(same=True), **(fit or {}))

    @property
    def kept(self) -> list[list[bool]]:
        assert self.pruning.pruner is not None
        return [kept.tolist() for kept in self.pruning.pruner.masks.kept]


def assert_close(one: Run, other: Run) -> None:
    """The same masks, and to rounding the same weights."""
    assert one.kept == other.kept
    for name, tensor in one.model.state_dict().items():
        torch.testing.assert_close(
            tensor, other.model.state_dict()[name], rtol=1e-6, atol=1e-9, msg=name
        )


def assert_same(one: nn.Module, other: nn.Module) -> None:
    state = other.state_dict()
    for name, tensor in one.state_dict().items():
        assert torch.equal(tensor, state[name]), name


@pytest.mark.parametrize("optimizer", ["momentum", "AdamW", "fused", "RMSprop"])
@pytest.mark.parametrize("schedule", [BY_EPOCH, BY_STEP], ids=str)
def test_masks_and_weights_are_those_of_a_training_that_only_masks(
    schedule: lp.Schedule, optimizer: str
) -> None:
    small = Run(optimizer=optimizer, schedule=schedule)
    masked = Run(optimizer=optimizer, schedule=schedule, during=False)
    assert_close(small, masked)
    assert len(set(masked.watch.sizes)) == 1
    assert len(set(small.watch.sizes)) > 2
    assert small.watch.sizes == sorted(small.watch.sizes, reverse=True)
    one, other = small.compaction.report, masked.compaction.report
    assert one is not None
    assert other is not None
    assert one.plan == other.plan
    assert (one.removed, one.params_after) == (other.removed, other.params_after)


@pytest.mark.parametrize(
    "options",
    [
        {"criterion": lp.Magnitude()},
        {"criterion": lp.Taylor(), "of": "macs"},
        {"criterion": lp.GeometricMedian()},
        {"allocation": lp.Uniform()},
        {"renew_norms": False},
        {"compensation": lp.LeastSquares()},
        {"compensation": lp.FoldMeans()},
    ],
    ids=str,
)
def test_updates_go_on_in_a_compact_model(options: dict[str, Any]) -> None:
    small, masked = Run(**options), Run(**options, during=False)
    assert_close(small, masked)
    assert len(set(small.watch.sizes)) > 2


@pytest.mark.parametrize(
    "options",
    [
        {"regularization": lp.GroupLasso()},
        {"criterion": lp.ActivationRate()},
        {"rewind": lp.Rewinding(epoch=0)},
    ],
    ids=lambda options: next(iter(options)),
)
def test_what_needs_the_full_size_becomes_compact_after_the_last_update(
    options: dict[str, Any],
) -> None:
    small, masked = (
        Run(**options, trainer={"epochs": 6}),
        Run(**options, trainer={"epochs": 6}, during=False),
    )
    assert_close(small, masked)
    first = small.watch.sizes[0]
    assert small.watch.sizes[: 3 * BATCHES] == [first] * (3 * BATCHES)
    assert small.watch.sizes[-1] < first


def test_single_weights_stay_masked_in_a_compact_model() -> None:
    def pruned(*, during: bool) -> lp.Pruning:
        weights = lp.Pruning(0.7, granularity=lp.Weight(), schedule=BY_STEP, name="weights")
        channels = lp.Pruning(0.5, schedule=lp.OneShot(epoch=1))
        model, watch = Validated("momentum"), Watch()
        compaction = lp.Compaction(during=during, latency=False)
        trainer = make_trainer(channels, weights, compaction, watch)
        trainer.fit(model, data(same=True), data(same=True))
        assert (len(set(watch.sizes)) > 1) == during
        assert weights.pruner is not None
        assert weights.pruner.masks
        for name, mask in weights.pruner.masks.items():
            if during:
                assert mask.shape == model.get_parameter(name).shape
                assert not model.get_parameter(name)[~mask].any()
        return weights

    small, masked = pruned(during=True).pruner, pruned(during=False).pruner
    assert small is not None
    assert masked is not None
    assert small.sparsity == masked.sparsity > 0.6
    for one, other in zip(small.masks.kept, masked.masks.kept, strict=True):
        assert torch.equal(one, other)


def test_what_cannot_be_removed_trains_on_masked(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(model: nn.Module, *_: Any, **__: Any) -> None:
        raise VerificationError("Expected the same, but got another.")

    monkeypatch.setattr(in_training, "compact", refuse)
    with pytest.warns(UserWarning, match="in the size that it has"):
        run = Run()
    assert len(set(run.watch.sizes)) == 1
    assert_same(run.model, Run(during=False).model)


def test_an_interrupt_waits_until_everything_has_followed(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*args: Any, **options: Any) -> Any:
        report = lp.compact(*args, **options)
        signal.raise_signal(signal.SIGINT)
        return report

    model, pruning = Validated("AdamW"), lp.Pruning(0.6, schedule=BY_EPOCH)
    trainer = make_trainer(pruning, lp.Compaction(during=True, min_gain=0.05, latency=False))
    full = sum(p.numel() for p in model.parameters())
    monkeypatch.setattr(in_training, "compact", interrupted)
    with pytest.raises((KeyboardInterrupt, SystemExit)):
        trainer.fit(model, data(same=True), data(same=True))
    assert sum(p.numel() for p in model.parameters()) < full
    moments = [(p, s["exp_avg"]) for p, s in trainer.optimizers[0].state.items()]
    assert moments
    assert all(parameter.shape == moment.shape for parameter, moment in moments)
    assert pruning.pruner is not None
    for name, mask in pruning.pruner.masks.items():
        assert mask.shape == model.get_parameter(name).shape


def test_too_little_is_not_worth_a_compaction() -> None:
    run = Run(min_gain=0.9)
    assert len(set(run.watch.sizes)) == 1
    assert run.compaction.report is not None
    assert run.compaction.report.removed > 0


def test_steps_that_depend_on_sizes_are_said(caplog: pytest.LogCaptureFixture) -> None:
    pruning, compaction = lp.Pruning(0.6, schedule=BY_EPOCH), lp.Compaction(during=True)
    trainer = make_trainer(pruning, compaction)
    trainer.fit(Validated("Adafactor"), data(same=True), data(same=True))
    assert caplog.text.count("steps of Adafactor depend on whole weights") == 1


def _killed_and_resumed(
    step: int, whole: Run, folder: Path, options: dict[str, Any], *more: L.Callback
) -> None:
    save = ModelCheckpoint(folder, filename="{step}", every_n_train_steps=step, save_top_k=-1)
    Run(save, *copy.deepcopy(more), trainer={"enable_checkpointing": True}, **options)
    path = folder / f"step={step}.ckpt"
    resumed = Run(*copy.deepcopy(more), fit={"ckpt_path": path, **SAFELY}, **options)
    assert resumed.kept == whole.kept
    assert_same(resumed.model, whole.model)
    assert resumed.compaction.report is not None
    assert resumed.compaction.report.removed == whole.compaction.report.removed  # type: ignore[union-attr]


@pytest.mark.slow
@pytest.mark.parametrize("schedule", [BY_EPOCH, BY_STEP], ids=str)
def test_killed_and_resumed_it_ends_as_uninterrupted(schedule: lp.Schedule, tmp_path: Path) -> None:
    options = {"schedule": schedule}
    whole = Run(**options)
    for step in random.Random(0).sample(range(2, 4 * BATCHES), 3):
        _killed_and_resumed(step, whole, tmp_path / str(step), options)


def test_averages_of_weights_become_compact_with_them() -> None:
    small = Run(EMAWeightAveraging(decay=0.5))
    masked = Run(EMAWeightAveraging(decay=0.5), during=False)
    assert len(set(small.watch.sizes)) > 2
    assert_close(small, masked)


@pytest.mark.slow
def test_a_dense_teacher_is_found_again_in_a_resumed_run(tmp_path: Path) -> None:
    teacher = lp.Distillation(temperature=1.0, module=None)
    whole = Run(copy.deepcopy(teacher))
    assert len(set(whole.watch.sizes)) > 2
    _killed_and_resumed(10, whole, tmp_path, {}, teacher)


def test_a_checkpoint_of_the_training_is_loaded_into_a_new_module(tmp_path: Path) -> None:
    run = Run()
    path = tmp_path / "small.ckpt"
    run.trainer.save_checkpoint(path)
    loaded = Validated.load_from_checkpoint(path, **SAFELY)
    assert_same(loaded, copy.deepcopy(run.model).float())


def test_the_best_weights_are_those_of_the_last_size() -> None:
    model, watch = Validated("AdamW"), Watch()
    pruning = lp.Pruning(0.6, schedule=lp.OneShot(epoch=1))
    compaction = lp.Compaction(during=True, monitor="val_loss", latency=False)
    trainer = make_trainer(pruning, compaction, watch)
    trainer.fit(model, data(same=True), data(same=True))
    assert len(set(watch.sizes)) == 2
    assert compaction.report is not None
    assert sum(p.numel() for p in model.parameters()) == watch.sizes[-1]


def test_a_model_that_was_compact_before_becomes_smaller_in_the_end_only() -> None:
    run = Run(trainer={"epochs": 4})
    pruning = lp.Pruning(0.3, schedule=lp.OneShot(epoch=1))
    watch = Watch()
    compaction = lp.Compaction(during=True, latency=False)
    trainer = make_trainer(pruning, compaction, watch, precision="64-true")
    with pytest.warns(UserWarning, match="was compact before it"):
        trainer.fit(run.model, data(same=True), data(same=True))
    assert len(set(watch.sizes)) == 1
    assert sum(p.numel() for p in run.model.parameters()) < watch.sizes[-1]


def test_it_has_to_be_behind_what_prunes() -> None:
    compaction, pruning = lp.Compaction(during=True), lp.Pruning(0.5)
    with pytest.raises(ValueError, match="behind all callbacks that prune, but got Pruning"):
        make_trainer(compaction, pruning).fit(Validated(), data(), data())


@pytest.mark.parametrize(
    ("callback", "match"),
    [
        (
            lp.AccuracyGuard("val_loss", max_drop=0.1, mode="min"),
            "got AccuracyGuard: it could not",
        ),
        (lp.Distillation(features=["body.0"]), "got Distillation: the features"),
    ],
    ids=["guard", "features"],
)
def test_what_needs_the_full_size_is_refused(callback: L.Callback, match: str) -> None:
    compaction = lp.Compaction(during=True)
    with pytest.raises(ValueError, match=match):
        make_trainer(lp.Pruning(0.5), callback, compaction).fit(Validated(), data(), data())


@pytest.mark.parametrize("min_gain", [0.0, 1.0, -0.1])
def test_a_gain_is_a_fraction(min_gain: float) -> None:
    with pytest.raises(ValueError, match=r"`min_gain` to be a fraction in \(0, 1\)"):
        lp.Compaction(during=True, min_gain=min_gain)


def test_a_compaction_that_failed_is_made_up_for_in_a_resumed_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, calls = Run(), []

    def out_of_memory(*args: Any, **options: Any) -> Any:
        calls.append(args)
        if len(calls) == 2:
            raise MemoryError
        return lp.compact(*args, **options)

    path = tmp_path / "failed.ckpt"
    save = LambdaCallback(on_exception=lambda trainer, *_: trainer.save_checkpoint(path))
    with monkeypatch.context() as patched:
        patched.setattr(in_training, "compact", out_of_memory)
        with pytest.raises(MemoryError):
            Run(save)
    resumed = Run(fit={"ckpt_path": path, **SAFELY})
    assert resumed.watch.sizes == whole.watch.sizes[-len(resumed.watch.sizes) :]
    assert_same(resumed.model, whole.model)
