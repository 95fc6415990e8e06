import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import lightning as L
import pytest
import torch
from lightning.pytorch.loggers import CSVLogger
from lightning.pytorch.strategies import ModelParallelStrategy
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from lightning_prune.callbacks import latency_monitor
from lightning_prune.callbacks.latency_monitor import LatencyMonitor
from lightning_prune.errors import ExampleInputsError
from lightning_prune.measure import measure_in_turns

QUICK = {"warmup_runs": 1, "min_runs": 3, "max_seconds": 0.01}
COMPACT = "latency/compact_p50_ms"
KEYS = {"latency/p50_ms", "latency/p95_ms", "latency/measuring_s", COMPACT}


class Net(L.LightningModule):
    def __init__(self, example_input_array: Tensor | None = None) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3), nn.Dropout(), nn.Linear(3, 2))
        self.example_input_array = example_input_array

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x)

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        return self(batch[0] if isinstance(batch, list) else batch["x"]).square().mean()

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.1)


def trainer_with(*callbacks: L.Callback, **options: Any) -> L.Trainer:
    defaults = {"max_epochs": 1, "logger": False, "enable_checkpointing": False}
    return L.Trainer(
        accelerator="cpu",
        callbacks=list(callbacks),
        enable_progress_bar=False,
        enable_model_summary=False,
        **{**defaults, **options},
    )


def batches() -> DataLoader[Any]:
    x = torch.randn(6, 4, generator=torch.Generator().manual_seed(0))
    return DataLoader(TensorDataset(x, torch.zeros(6)), batch_size=2)


def test_the_latency_of_the_first_batch_is_logged() -> None:
    monitor = LatencyMonitor(**QUICK)
    trainer = trainer_with(monitor)
    trainer.fit(Net(), batches())
    assert set(trainer.callback_metrics) == KEYS
    assert monitor.latency is not None
    assert (monitor.latency.batch_size, monitor.latency.device) == (2, "cpu")
    for key in KEYS - {COMPACT}:
        expected = getattr(monitor.latency, key.removeprefix("latency/"))
        assert trainer.callback_metrics[key].item() == pytest.approx(expected)
    assert monitor.compact_latency is not None
    logged = trainer.callback_metrics[COMPACT].item()
    assert logged == pytest.approx(monitor.compact_latency.p50_ms)


def test_every_pair_of_batch_and_threads_is_logged() -> None:
    monitor = LatencyMonitor(**QUICK, batch_sizes=[3, 5], threads=[1, 2], compact=False)
    trainer = trainer_with(monitor)
    trainer.fit(Net(), batches())
    others = ["batch3/threads2/", "batch5/threads1/", "batch5/threads2/"]
    assert set(trainer.callback_metrics) == {
        f"latency/{part}{name}"
        for part in ["", *others]
        for name in ("p50_ms", "p95_ms", "measuring_s")
    }
    assert monitor.latency is not None
    assert (monitor.latency.batch_size, monitor.latency.threads) == (3, 1)


def test_what_is_asked_for_alone_names_the_others() -> None:
    trainer = trainer_with(LatencyMonitor(**QUICK, threads=[1, 2]))
    trainer.fit(Net(), batches())
    assert {"latency/compact_p50_ms", "latency/threads2/compact_p50_ms"} <= set(
        trainer.callback_metrics
    )


def test_the_compact_copy_is_smaller_once_units_are_zero(monkeypatch: pytest.MonkeyPatch) -> None:
    class ZeroesAUnit(Net):
        def on_train_batch_end(self, *args: Any) -> None:
            with torch.no_grad():
                for tensor in (self.net[0].weight, self.net[0].bias, *self.net[1].parameters()):
                    tensor[0] = 0

    widths: list[list[int]] = []

    def measure(models: Any, *args: Any, **options: Any) -> Any:
        widths.append([model.net[0].out_features for model in models])
        return measure_in_turns(models, *args, **options)

    monkeypatch.setattr(latency_monitor, "measure_in_turns", measure)
    model = ZeroesAUnit()
    trainer_with(LatencyMonitor(**QUICK)).fit(model, batches())
    assert widths == [[3, 2]]
    assert model.net[0].out_features == 3


def test_without_a_compact_copy_the_module_is_measured_all_the_same(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fail(*args: Any) -> None:
        raise RuntimeError("no copy")

    monkeypatch.setattr(latency_monitor, "compact_twin", fail)
    trainer = trainer_with(LatencyMonitor(**QUICK), max_epochs=3)
    with pytest.warns(UserWarning, match=r"LatencyMonitor\(compact=True\).*no copy") as said:
        trainer.fit(Net(), batches())
    assert sum("measures nothing" in str(warning.message) for warning in said) == 1
    assert set(trainer.callback_metrics) == KEYS - {COMPACT}


def test_the_metrics_reach_the_logger(tmp_path: Path) -> None:
    logger = CSVLogger(tmp_path)
    trainer_with(LatencyMonitor(**QUICK), logger=logger, log_every_n_steps=1).fit(Net(), batches())
    header = (Path(logger.log_dir) / "metrics.csv").read_text().splitlines()[0]
    assert set(header.split(",")) >= KEYS


@pytest.mark.parametrize(
    ("explicit", "array", "batch_size"),
    [(torch.zeros(5, 4), torch.zeros(3, 4), 5), (None, torch.zeros(3, 4), 3)],
    ids=["argument", "example_input_array"],
)
def test_given_inputs_win_over_the_batch(
    explicit: Tensor | None, array: Tensor | None, batch_size: int
) -> None:
    monitor = LatencyMonitor(**QUICK, example_inputs=explicit)
    trainer_with(monitor).fit(Net(array), batches())
    assert monitor.latency is not None
    assert monitor.latency.batch_size == batch_size


def test_training_is_bit_identical_with_and_without_the_monitor() -> None:
    states = []
    for callbacks in ([], [LatencyMonitor(**QUICK)]):
        torch.manual_seed(0)
        model = Net()
        trainer_with(*callbacks, max_epochs=3).fit(model, batches())
        states.append({**model.state_dict(), "random": torch.get_rng_state()})
    assert all(torch.equal(value, states[1][name]) for name, value in states[0].items())


def test_only_every_nth_epoch_is_measured() -> None:
    class Count(LatencyMonitor):
        def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
            self.latency = None
            super().on_train_epoch_end(trainer, pl_module)
            measured.append(self.latency is not None)

    measured: list[bool] = []
    trainer_with(Count(every_n_epochs=2, **QUICK), max_epochs=5).fit(Net(), batches())
    assert measured == [False, True, False, True, False]


def test_a_second_fit_takes_its_own_first_batch() -> None:
    monitor = LatencyMonitor(**QUICK)
    for size in (2, 3):
        trainer_with(monitor).fit(Net(), DataLoader(batches().dataset, batch_size=size))
        assert monitor.latency is not None
        assert monitor.latency.batch_size == size


def test_an_epoch_that_ends_before_any_batch_is_not_measured() -> None:
    # What a run resumed from a checkpoint of a validation end does first.
    monitor = LatencyMonitor(**QUICK)
    monitor.on_train_epoch_end(trainer_with(), Net())
    assert monitor.latency is None


def test_a_batch_without_a_tensor_in_front_fails_at_once_and_names_the_cure() -> None:
    class Named(torch.utils.data.Dataset[Any]):
        def __len__(self) -> int:
            return 2

        def __getitem__(self, index: int) -> tuple[str, Tensor]:
            return "name", torch.zeros(4)

    with pytest.raises(ExampleInputsError, match="Set `example_input_array` on Net, or pass"):
        trainer_with(LatencyMonitor(**QUICK)).fit(Net(), DataLoader(Named(), batch_size=2))


class Locked(Net):
    """Cannot be copied once it has been trained."""

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        self.locks = [threading.Lock()]
        return super().training_step(batch, batch_idx)


class OnlyTraining(Net):
    """Its forward pass does not run in eval mode."""

    def forward(self, x: Tensor) -> Tensor:
        if not self.training:
            raise NotImplementedError
        return super().forward(x)


@pytest.mark.parametrize(
    ("model", "reason"),
    [(Locked, r"holds `locks\[0\]`, of type _thread.lock"), (OnlyTraining, "NotImplementedError")],
)
def test_what_cannot_be_measured_is_warned_of_once_and_trained_on(
    model: type[Net], reason: str
) -> None:
    monitor = LatencyMonitor(**QUICK)
    trainer = trainer_with(monitor, max_epochs=3)
    with pytest.warns(UserWarning, match=f"LatencyMonitor measures nothing more.*{reason}") as said:
        trainer.fit(model(), batches())
    assert sum("measures nothing" in str(warning.message) for warning in said) == 1
    assert trainer.global_step == 9
    assert monitor.latency is None


def test_the_warning_comes_after_the_first_batch() -> None:
    trainer = trainer_with(LatencyMonitor(**QUICK), max_steps=1, max_epochs=-1)
    with pytest.warns(UserWarning, match="LatencyMonitor measures nothing more"):
        trainer.fit(Locked(), batches())


def test_a_second_fit_is_measured_again() -> None:
    monitor = LatencyMonitor(**QUICK)
    with pytest.warns(UserWarning, match="LatencyMonitor measures nothing more"):
        trainer_with(monitor).fit(Locked(), batches())
    trainer_with(monitor).fit(Net(), batches())
    assert monitor.latency is not None


class Outputs(Net):
    """Keeps the outputs of its steps in a list, as Lightning's documentation does."""

    def __init__(self) -> None:
        super().__init__()
        self.training_step_outputs: list[Tensor] = []

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        loss = super().training_step(batch, batch_idx)
        self.training_step_outputs.append(loss)
        return loss

    def on_train_epoch_end(self) -> None:
        assert len(self.training_step_outputs) == 3
        self.training_step_outputs.clear()


def test_step_outputs_in_a_list_are_no_obstacle() -> None:
    monitor = LatencyMonitor(**QUICK)
    trainer_with(monitor, max_epochs=2).fit(Outputs(), batches())
    assert monitor.latency is not None


def test_a_sharded_module_is_refused() -> None:
    trainer = SimpleNamespace(strategy=ModelParallelStrategy())
    with pytest.raises(ValueError, match=r"Expected `strategy` .* but got ModelParallelStrategy"):
        LatencyMonitor().setup(trainer, Net(), "fit")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"every_n_epochs": 0}, "Expected `every_n_epochs` to be an integer of at least 1"),
        ({"warmup_runs": -1}, "Expected `warmup_runs` to be an integer of at least 0"),
        ({"min_runs": 0}, "Expected `min_runs` to be an integer of at least 1"),
        (
            {"max_seconds": -0.5},
            "Expected `max_seconds` to be a finite number greater than 0, but got -0.5",
        ),
        ({"batch_sizes": [1, 0]}, "Expected `batch_sizes` to be an integer of at least 1"),
        ({"threads": [0]}, "Expected `threads` to be an integer of at least 1"),
        ({"threads": []}, "Expected `threads` to hold an integer, but got none"),
    ],
    ids=["every_n_epochs", "warmup_runs", "min_runs", "max_seconds", "batch", "threads", "none"],
)
def test_arguments_out_of_range_are_refused(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        LatencyMonitor(**arguments)


def test_one_number_is_no_list() -> None:
    with pytest.raises(TypeError, match="Expected `batch_sizes` to be a list of integers"):
        LatencyMonitor(batch_sizes=32)
