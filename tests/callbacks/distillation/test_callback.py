from __future__ import annotations

import copy
from typing import Any

import lightning as L
import pytest
import torch
import torch.nn.functional as F
from lightning.pytorch.strategies import SingleDeviceStrategy
from support.fits import Net, Validated, data, fit, make_trainer
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from lightning_prune.callbacks.accuracy_guard import AccuracyGuard
from lightning_prune.callbacks.compaction.callback import Compaction
from lightning_prune.callbacks.distillation.callback import Distillation
from lightning_prune.callbacks.pruning.callback import Pruning
from lightning_prune.granularities import Weight
from lightning_prune.schedules import OneShot

BATCH = (torch.randn(5, 4), torch.tensor([0, 1, 2, 0, 1]))


class Linear(L.LightningModule):
    """One layer, of which every gradient can be written down; ``step`` may return otherwise."""

    def __init__(self, step: Any = None) -> None:
        super().__init__()
        self.layer = nn.Linear(4, 3, bias=False)
        self.step = step

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(x)

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        loss = F.cross_entropy(self(batch[0]), batch[1])
        return loss if self.step is None else self.step(self, batch, loss)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=1.0)


class Around(Linear):
    """Its step calls the layer, not the module."""

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        return F.cross_entropy(self.layer(batch[0]), batch[1])


class Note(L.Callback):
    """Notes what a step returned, and whatever ``look`` sees at its end."""

    def __init__(self, look: Any = lambda trainer, module: None) -> None:
        self.look = look
        self.seen: list[Any] = []
        self.outputs: list[Any] = []

    def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, *_: Any) -> None:
        self.outputs.append(outputs)
        self.seen.append(self.look(trainer, pl_module))


def one_batch() -> DataLoader[Any]:
    return DataLoader(TensorDataset(*BATCH), batch_size=5)


def train(model: Any, *callbacks: Any, **options: Any) -> L.Trainer:
    trainer = make_trainer(*callbacks, **{"epochs": 1, **options})
    trainer.fit(model, one_batch())
    return trainer


def same(one: nn.Module, other: nn.Module) -> bool:
    pairs = zip(one.state_dict().values(), other.state_dict().values(), strict=True)
    return all(torch.equal(a, b) for a, b in pairs)


def test_a_step_goes_along_the_gradient_that_is_computed_by_hand() -> None:
    model, teacher, (x, labels) = Linear(), nn.Linear(4, 3, bias=False), BATCH
    before, share, heat = model.layer.weight.detach().clone(), 0.3, 5.0
    train(model, Distillation(teacher, weight=share, temperature=heat))
    z, expected = x @ before.T, x @ teacher.weight.detach().T
    of_labels = (z.softmax(1) - F.one_hot(labels)) / 5
    of_teacher = heat * ((z / heat).softmax(1) - (expected / heat).softmax(1)) / 5
    gradient = ((1 - share) * of_labels + share * of_teacher).T @ x
    torch.testing.assert_close(model.layer.weight.detach(), before - gradient)


def test_outputs_of_a_regression_are_compared_by_their_squares() -> None:
    model, teacher, (x, _) = Linear(lambda *args: args[2] * 0), nn.Linear(4, 3, bias=False), BATCH
    before = model.layer.weight.detach().clone()
    trainer = train(model, Distillation(teacher, kind="mse", weight=1.0))
    difference = x @ (before - teacher.weight.detach()).T
    torch.testing.assert_close(model.layer.weight.detach(), before - 2 * difference.T @ x / (5 * 3))
    found = trainer.callback_metrics["distillation/loss"]
    torch.testing.assert_close(found, difference.square().mean())


def test_a_teacher_runs_in_eval_mode_whatever_mode_it_comes_in() -> None:
    model, layer, (x, _) = Linear(lambda *args: args[2] * 0), nn.Linear(4, 3, bias=False), BATCH
    before, teacher = model.layer.weight.detach().clone(), nn.Sequential(nn.Dropout(), layer)
    trainer = train(model, Distillation(teacher, kind="mse", weight=1.0))
    difference = x @ (before - layer.weight.detach()).T
    found = trainer.callback_metrics["distillation/loss"]
    torch.testing.assert_close(found, difference.square().mean())


def test_every_rank_learns_from_the_dense_self_of_the_first(monkeypatch: Any) -> None:
    def of_the_first(self: Any, found: Any, src: int = 0) -> Any:
        if not isinstance(found, dict):
            return found
        return {name: torch.zeros_like(tensor) for name, tensor in found.items()}

    monkeypatch.setattr(SingleDeviceStrategy, "broadcast", of_the_first)
    model, (x, _) = Linear(lambda *args: args[2] * 0), BATCH
    before = model.layer.weight.detach().clone()
    trainer = train(model, Distillation(kind="mse", weight=1.0))
    found = trainer.callback_metrics["distillation/loss"]
    torch.testing.assert_close(found, (x @ before.T).square().mean())


def test_what_the_loss_comes_with_is_kept() -> None:
    note = Note()
    model = Linear(lambda model, batch, loss: {"loss": loss, "more": 3})
    plain, alone = copy.deepcopy(model), Note()
    train(plain, alone)
    train(model, Distillation(nn.Linear(4, 3), weight=0.25), note)
    (found,), (before,) = note.outputs, alone.outputs
    assert found["more"] == 3
    assert found["loss"] != before["loss"]


@pytest.mark.filterwarnings("ignore:`training_step` returned `None`")
def test_a_step_that_is_skipped_stays_so() -> None:
    model = Linear(lambda model, batch, loss: None)
    before = copy.deepcopy(model)
    assert "distillation/loss" not in train(model, Distillation()).callback_metrics
    assert same(model.layer, before.layer)


def test_the_dense_self_teaches_and_does_not_change() -> None:
    model = Net("AdamW")
    before, callback = copy.deepcopy(model), Distillation()
    note = Note(lambda *_: callback.state_dict()["dense"])
    fit(model, callback, note)
    assert not same(model, before)
    for state in note.seen:
        assert all(torch.equal(state[name], t) for name, t in before.state_dict().items())


@pytest.mark.parametrize("first", [True, False])
def test_the_dense_self_is_copied_before_anything_is_pruned_in_its_epoch(first: bool) -> None:
    dense = Net("AdamW")
    fit(dense, epochs=2)
    callback, pruning = Distillation(start_epoch=2), Pruning(0.5, schedule=OneShot(epoch=2))
    note = Note(lambda trainer, _: "distillation/loss" in trainer.callback_metrics)
    model = Net("AdamW")
    fit(model, *([callback, pruning] if first else [pruning, callback]), note)
    kept = callback.state_dict()["dense"]
    assert all(torch.equal(kept[name], t) for name, t in dense.state_dict().items())
    assert not all(kept["head.weight"].flatten() == 0)
    assert note.seen == [False] * 8 + [True] * 8


@pytest.mark.parametrize(
    "callbacks", [[], [Pruning(0.5), Compaction(latency=False)]], ids=["alone", "pruned"]
)
def test_the_module_is_as_ever_during_and_after_a_fit(callbacks: list[Any]) -> None:
    model = Net()
    keys, parts = list(model.state_dict()), [name for name, _ in model.named_modules()]
    note = Note(lambda _, m: (list(m.state_dict()), [name for name, _ in m.named_modules()]))
    fit(model, *copy.deepcopy(callbacks), Distillation(features=["body.3"]), note)
    assert note.seen == [(keys, parts)] * 16
    assert "training_step" not in vars(model)
    assert not any(module._forward_hooks for module in model.modules())


def test_a_step_that_fails_leaves_the_module_as_it_was() -> None:
    def fail(*_: Any) -> None:
        raise RuntimeError("mine")

    model = Linear(fail)
    with pytest.raises(RuntimeError, match="mine"):
        train(model, Distillation())
    assert "training_step" not in vars(model)
    assert not model._forward_pre_hooks


def test_a_teacher_that_was_passed_is_left_alone() -> None:
    teacher = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.Dropout(), nn.Linear(8, 3))
    before, callback = copy.deepcopy(teacher), Distillation(teacher)
    train(Linear(), callback, epochs=3, precision="bf16-true")
    assert same(teacher, before)
    assert all(module.training for module in teacher.modules())
    assert all(p.requires_grad and p.grad is None for p in teacher.parameters())
    assert callback.state_dict() == {}


def test_a_teacher_that_is_part_of_the_module_is_refused() -> None:
    model = Linear()
    for teacher in (model, model.layer):
        with pytest.raises(ValueError, match=r"`teacher` to be a module of its own"):
            train(model, Distillation(teacher))


@pytest.mark.parametrize("precision", ["bf16-mixed", "bf16-true"])
def test_the_teacher_runs_in_the_precision_of_the_student(precision: Any) -> None:
    types: list[torch.dtype] = []

    class Teacher(nn.Linear):
        def forward(self, x: Tensor) -> Tensor:
            out = super().forward(x)
            types.append(out.dtype)
            return out

    train(Linear(), Distillation(Teacher(4, 3)), precision=precision)
    assert types == [torch.bfloat16]


def test_a_step_that_calls_a_part_names_it() -> None:
    whole, part, teacher = Linear(), Around(), nn.Linear(4, 3)
    part.load_state_dict(whole.state_dict())
    train(whole, Distillation(teacher))
    train(part, Distillation(teacher, module="layer"))
    assert same(whole, part)


def test_a_step_that_does_not_call_the_module_is_said_once_and_loudly() -> None:
    model = Around()
    plain = copy.deepcopy(model)
    with pytest.warns(UserWarning, match=r"does not call the LightningModule .*: 'layer'") as said:
        trainer = train(model, Distillation(), epochs=3)
    assert len([one for one in said if "Distillation" in str(one.message)]) == 1
    assert "distillation/loss" not in trainer.callback_metrics
    train(plain, epochs=3)
    assert same(model, plain)


@pytest.mark.parametrize(
    ("options", "argument"),
    [({"module": "body"}, "module"), ({"output": "tail"}, "output"), ({"features": ["x"]}, "feat")],
)
def test_names_of_nothing_are_refused_before_the_first_step(options: Any, argument: str) -> None:
    with pytest.raises(ValueError, match=f"Expected `{argument}.*named_modules"):
        train(Linear(), Distillation(**options))


def test_features_of_a_teacher_have_the_same_names() -> None:
    with pytest.raises(ValueError, match=r"`features` to name modules of Linear, but got 'layer'"):
        train(Linear(), Distillation(nn.Linear(4, 3), features=["layer"]))


def test_manual_optimization_is_refused() -> None:
    model = Linear()
    model.automatic_optimization = False
    with pytest.raises(ValueError, match=r"`automatic_optimization` to be True for Distillation"):
        train(model, Distillation())


def test_another_fit_has_another_dense_teacher() -> None:
    model, callback = Linear(), Distillation()
    train(model, callback, epochs=2)
    first = callback.state_dict()["dense"]
    between = copy.deepcopy(model)
    train(model, callback, epochs=2)
    second = callback.state_dict()["dense"]
    assert not torch.equal(first["layer.weight"], second["layer.weight"])
    assert torch.equal(second["layer.weight"], between.layer.weight)


def test_it_goes_with_a_guard_averages_and_accumulation() -> None:
    model = Validated("AdamW")
    callbacks: list[Any] = [
        Distillation(),
        Pruning(0.5, granularity=Weight()),
        AccuracyGuard("val_loss", 0.5, mode="min"),
        L.pytorch.callbacks.StochasticWeightAveraging(0.01, swa_epoch_start=2),
        Compaction(latency=False),
    ]
    trainer = make_trainer(*callbacks, accumulate_grad_batches=2, gradient_clip_val=1.0)
    trainer.fit(model, data(), data())
    assert trainer.callback_metrics["distillation/loss"] > 0
    assert "training_step" not in vars(model)


def test_every_call_of_a_closure_is_distilled() -> None:
    note = Note()
    fit(Net("LBFGS"), Distillation(), note, epochs=1)
    assert len(note.outputs) == 4


def test_a_compiled_module_is_distilled_like_another() -> None:
    compiled, plain = Net("AdamW"), Net("AdamW")
    fit(torch.compile(compiled, backend="eager"), Distillation(start_epoch=1), epochs=2)
    fit(plain, Distillation(start_epoch=1), epochs=2)
    assert same(compiled, plain)


@pytest.mark.parametrize("package", ["lightning.pytorch", "pytorch_lightning"])
def test_both_namespaces_distil(package: str) -> None:
    pl = pytest.importorskip(package)

    class Model(pl.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(4, 3)

        def forward(self, x: Tensor) -> Tensor:
            return self.layer(x)

        def training_step(self, batch: Any) -> Tensor:
            return F.cross_entropy(self(batch[0]), batch[1])

        def configure_optimizers(self) -> torch.optim.Optimizer:
            return torch.optim.SGD(self.parameters(), lr=1.0)

    trainer = pl.Trainer(
        accelerator="cpu",
        max_epochs=2,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        callbacks=[Distillation()],
    )
    trainer.fit(Model(), one_batch())
    assert trainer.callback_metrics["distillation/loss"] > 0
