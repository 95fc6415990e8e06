"""At the end of fit the model is smaller, verified and reported."""

import contextlib
import threading
from pathlib import Path
from typing import Any

import lightning as L
import pytest
import torch
from lightning.pytorch.loggers import CSVLogger
from torch import Tensor, nn
from torch.nn.utils import prune
from torch.utils.data import DataLoader, Dataset, TensorDataset

import lightning_prune as lp
from lightning_prune.compaction import measuring
from lightning_prune.errors import VerificationError


class Model(L.LightningModule):
    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(4, 8)
        self.head = nn.Linear(8, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.first(x).relu())

    def training_step(self, batch: list[Tensor], batch_idx: int) -> Tensor:
        return self(batch[0]).square().mean()

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.1)


OPTIONS: dict[str, Any] = {
    "max_epochs": 1,
    "accelerator": "cpu",
    "logger": False,
    "enable_progress_bar": False,
    "enable_checkpointing": False,
    "enable_model_summary": False,
}


class Zero(L.Callback):
    """Some other tool that zeroes three units at the end of training."""

    def on_train_end(self, trainer: L.Trainer, pl_module: Any) -> None:
        with torch.no_grad():
            pl_module.first.weight[:3] = 0
            pl_module.first.bias[:3] = 0


def fit(
    model: L.LightningModule, *callbacks: L.Callback, data: Any = None, **kwargs: Any
) -> L.Trainer:
    trainer = L.Trainer(callbacks=list(callbacks), **(OPTIONS | kwargs))
    x = torch.randn(8, 4, generator=torch.Generator().manual_seed(0))
    trainer.fit(model, DataLoader(data or TensorDataset(x), 4))
    return trainer


def test_what_another_callback_zeroed_is_removed():
    model, compaction = Model(), lp.Compaction(latency=False)
    keys = list(model.state_dict())
    fit(model, Zero(), compaction)
    assert model.first.out_features == model.head.in_features == 5
    assert list(model.state_dict()) == keys
    # first: 4 * 8 + 8, head: 8 * 2 + 2; a unit holds 4 + 1 + 2.
    assert (compaction.report.params_before, compaction.report.params_after) == (58, 58 - 3 * 7)
    # The example inputs are the first batch of 4.
    assert compaction.report.macs_before == 4 * (4 * 8 + 8 * 2)
    assert compaction.report.macs_after == 4 * (4 * 5 + 5 * 2)


def test_figures_reach_the_loggers_and_the_table_is_printed(tmp_path, capsys):
    compaction = lp.Compaction()
    logger = CSVLogger(tmp_path)
    fit(Model(), Zero(), compaction, logger=logger)
    written = (tmp_path / "lightning_logs/version_0/metrics.csv").read_text()
    for key in ("params_before", "macs_after", "latency_before_p50_ms", "speedup", "max_abs_error"):
        assert f"compaction/{key}" in written
    printed = capsys.readouterr().out
    assert "latency p50" in printed
    assert "3 of 8 units removed" in printed
    assert compaction.report.speedup == pytest.approx(
        compaction.report.latency_before.p50_ms / compaction.report.latency_after.p50_ms
    )


def test_nothing_to_remove_is_said(caplog, capsys):
    compaction = lp.Compaction(latency=False)
    fit(Model(), compaction)
    assert compaction.report.removed == 0
    assert "NOTHING WAS REMOVED" in capsys.readouterr().out
    assert "granularity=Channel()" in caplog.text


def test_a_failed_verification_leaves_the_model_as_it_was():
    class Asserting(Model):
        def forward(self, x: Tensor) -> Tensor:
            if self.first.out_features != 8:
                raise RuntimeError("eight are expected")
            return super().forward(x)

    model = Asserting()
    with pytest.raises(VerificationError, match=r"The model is as it was"):
        fit(model, Zero(), lp.Compaction(latency=False))
    assert model.first.out_features == model.head.in_features == 8
    assert model.first.weight.shape == (8, 4)
    assert not model.first.weight[:3].any()


def test_a_second_fit_trains_the_compact_model():
    model = Model()
    fit(model, Zero(), lp.Compaction(latency=False))
    before = model.first.weight.clone()
    fit(model)
    assert model.first.weight.shape == (5, 4)
    assert not torch.equal(model.first.weight, before)


class Locked(Model):
    """Holds what cannot be copied, from the start or from the first batch on."""

    def __init__(self, *, at_once: bool) -> None:
        super().__init__()
        self.steps = 0
        self.net_locks = {"a": threading.Lock()} if at_once else {}

    def training_step(self, batch: list[Tensor], batch_idx: int) -> Tensor:
        self.steps += 1
        self.net_locks["a"] = threading.Lock()
        return super().training_step(batch, batch_idx)


@pytest.mark.parametrize("at_once", [True, False])
def test_what_cannot_be_copied_is_named_before_the_training(at_once: bool) -> None:
    model = Locked(at_once=at_once)
    with pytest.raises(TypeError, match=r"holds `net_locks\['a'\]`, of type _thread.lock"):
        fit(model, Zero(), lp.Compaction(latency=False))
    assert model.steps == (0 if at_once else 1)


class Outputs(Model):
    """Keeps what it computes: outputs of steps in a list, activations in attributes."""

    def __init__(self) -> None:
        super().__init__()
        self.kept: list[Any] = []

    def forward(self, x: Tensor) -> Tensor:
        self.hidden = self.first(x).relu()
        return self.head(self.hidden)

    def training_step(self, batch: list[Tensor], batch_idx: int) -> Tensor:
        loss = super().training_step(batch, batch_idx)
        self.kept.append({"loss": loss})
        return loss


def test_a_module_that_keeps_what_it_computes_is_compacted() -> None:
    model = Outputs()
    fit(model, lp.Pruning(0.5), lp.Compaction(), lp.LatencyMonitor(), max_epochs=2)
    assert model.first.out_features == 4
    assert len(model.kept) == 4  # one for each step, none for what ran on copies


def test_masks_of_torch_are_warned_of_before_the_training(caplog: Any) -> None:
    model = Model()
    prune.ln_structured(model.first, "weight", 0.5, n=2, dim=0)
    with pytest.warns(UserWarning, match="the fit had no batch"):
        fit(model, lp.Compaction(latency=False), max_epochs=0)
    assert "prune.remove(module, name) for: first.weight" in caplog.text


class Text(Dataset):
    """Batches with a text in front, so that there are no example inputs."""

    def __len__(self) -> int:
        return 8

    def __getitem__(self, index: int) -> tuple[str, Tensor]:
        return "text", torch.zeros(4)


def test_a_lack_of_example_inputs_shows_before_the_first_step():
    class Second(Model):
        automatic_optimization = False

    model = Second()
    with (
        pytest.warns(UserWarning, match="training step of Second .* optimizes manually"),
        pytest.raises(lp.ExampleInputsError, match="a list without a tensor in front"),
    ):
        fit(model, lp.Compaction(latency=False), data=Text())
    assert model.trainer.global_step == 0


def test_example_inputs_that_do_not_fit_show_before_the_first_step():
    model = Model()
    with pytest.raises(lp.ExampleInputsError, match=r"tensors of shape \(2, 5\)"):
        fit(model, lp.Compaction(latency=False, example_inputs=torch.zeros(2, 5)))
    assert model.trainer.global_step == 0


def test_inputs_of_an_earlier_fit_are_forgotten():
    class Fail(L.Callback):
        def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
            raise RuntimeError("stop")

    compaction = lp.Compaction(latency=False)
    with pytest.raises(RuntimeError, match="stop"):
        fit(Model(), compaction, Fail())
    other = Model()
    other.first = nn.Linear(6, 8)
    fit(other, Zero(), compaction, data=TensorDataset(torch.randn(8, 6)))
    assert compaction.report.removed == 3


def test_the_compact_model_is_written_where_asked(tmp_path):
    model = Model()
    fit(model, Zero(), lp.Compaction(path=str(tmp_path / "small.safetensors"), latency=False))
    loaded = lp.load_compact(Model(), tmp_path / "small.safetensors")
    assert loaded.first.out_features == 5
    assert torch.equal(loaded.first.weight, model.first.weight)


def test_weights_that_are_not_numbers_are_named_as_the_cause(caplog):
    class Diverge(L.Callback):
        def on_train_end(self, trainer: L.Trainer, pl_module: Any) -> None:
            pl_module.first.weight.data[:] = torch.nan

    fit(Model(), Diverge(), lp.Compaction(latency=False))
    assert "the weights hold NaN" in caplog.text


def test_a_mode_is_one_of_two():
    with pytest.raises(ValueError, match="Expected `mode` to be 'min' or 'max', but got 'low'"):
        lp.Compaction(mode="low")


def test_a_fit_without_a_batch_compacts_nothing():
    model = Model()
    with pytest.warns(UserWarning, match="the fit had no batch"):
        fit(model, lp.Compaction(latency=False), limit_train_batches=0)
    assert model.first.out_features == 8


def test_a_path_is_checked_before_the_training(tmp_path: Path) -> None:
    compaction = lp.Compaction(path=tmp_path / "absent" / "small.safetensors")
    with pytest.raises(ValueError, match=r"whose folder .*absent' does not exist"):
        fit(Model(), compaction)


def test_a_path_is_a_path() -> None:
    with pytest.raises(TypeError, match="Expected `path` to be a path, but got 5"):
        lp.Compaction(path=5)  # type: ignore[arg-type]


class WithAuxiliary(Model):
    """A second head reads the hidden features; neither ``forward`` nor a step runs it."""

    def __init__(self) -> None:
        super().__init__()
        self.aux = nn.Linear(8, 3)

    def loss(self, x: Tensor) -> Tensor:
        return self.aux(self.first(x).relu()).square().mean()


def test_what_no_step_runs_may_read_stays_and_is_named(caplog):
    model, compaction = WithAuxiliary(), lp.Compaction(latency=False)
    fit(model, Zero(), compaction)
    assert model.first.out_features == 8
    assert compaction.report is not None
    assert compaction.report.unused == ("aux.weight", "aux.bias")
    [warning] = [r for r in caplog.records if "do not run aux. " in r.getMessage()]
    assert "allow_unused=True" in warning.getMessage()


def test_a_call_of_what_no_step_runs_compacts_that_too():
    x = torch.randn(2, 4)
    model = WithAuxiliary()
    fit(model, Zero(), lp.Compaction(latency=False, example_inputs=[x, lp.Call("loss", x)]))
    assert (model.first.out_features, model.aux.in_features) == (5, 5)


def test_states_of_the_full_size_load_where_unused_parameters_are_allowed():
    model, state = WithAuxiliary(), {}

    class Keep(L.Callback):
        def on_train_end(self, trainer: L.Trainer, pl_module: Any) -> None:
            state.update({k: v.clone() for k, v in pl_module.state_dict().items()})

    compaction = lp.Compaction(latency=False, allow_unused=True)
    fit(model, Zero(), Keep(), compaction)
    assert (model.first.out_features, model.aux.in_features) == (5, 8)
    model.load_state_dict(state)


@pytest.mark.parametrize("error", [MemoryError("no room"), KeyboardInterrupt()])
def test_what_goes_wrong_while_it_is_measured_loses_neither_report_nor_file(
    error: BaseException, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*args: Any, **kwargs: Any) -> None:
        raise error

    monkeypatch.setattr(measuring, "measure_in_turns", fail)
    model, compaction = Model(), lp.Compaction(path=tmp_path / "small.safetensors")
    with contextlib.suppress(SystemExit, KeyboardInterrupt):
        fit(model, Zero(), compaction)
    assert model.first.out_features == 5
    assert compaction.report is not None
    assert compaction.report.removed == 3
    small = lp.load_compact(Model(), tmp_path / "small.safetensors")
    assert torch.equal(small.first.weight, model.first.weight)


class Scored(Model):
    """Keeps three of its units at zero, and validates to a number that it is given."""

    def __init__(self, loss: float) -> None:
        super().__init__()
        self.loss = loss
        with torch.no_grad():
            self.first.weight[:3] = 0
            self.first.bias[:3] = 0
        self.first.weight.register_hook(lambda grad: grad * (self.first.weight != 0))
        self.first.bias.register_hook(lambda grad: grad * (self.first.bias != 0))

    def validation_step(self, batch: list[Tensor], batch_idx: int) -> None:
        self.log("val_loss", self.loss)


class Last(L.Callback):
    """Copies the weights with which the training ends."""

    def on_train_end(self, trainer: L.Trainer, pl_module: Any) -> None:
        self.weights = pl_module.first.weight.detach().clone()


def test_each_fit_compacts_its_own_best_weights():
    compaction, last = lp.Compaction(monitor="val_loss", latency=False), Last()
    x = DataLoader(TensorDataset(torch.randn(8, 4)), 4)
    for loss in (0.1, 0.9):
        model = Scored(loss)
        trainer = L.Trainer(**OPTIONS, callbacks=[compaction, last])
        trainer.fit(model, x, x)
        assert torch.equal(model.first.weight, last.weights[3:])
