import re
from typing import Any, ClassVar

import pytest
import torch
from torch import Tensor, nn

from lightning_prune.errors import ExampleInputsError
from lightning_prune.measure import latency as latency_module
from lightning_prune.measure import timed_model as timed_module
from lightning_prune.measure import turns as turns_module
from lightning_prune.measure.latency import Latency, measure_in_turns, measure_latency

QUICK: dict[str, Any] = {"warmup_runs": 1, "min_runs": 3, "max_seconds": 0.01}


class Recorder(nn.Module):
    """Writes its name into a list that copies share, since it belongs to the class."""

    calls: ClassVar[list[str]] = []

    def __init__(self, name: str) -> None:
        super().__init__()
        self.name = name

    def forward(self, x: Tensor) -> Tensor:
        self.calls.append(self.name)
        return x


class Clock:
    """Stands in for the module ``time``; it goes on only while a `Takes` runs."""

    now_ns = 0

    @classmethod
    def perf_counter_ns(cls) -> int:
        return cls.now_ns

    @classmethod
    def perf_counter(cls) -> float:
        return cls.now_ns / 1e9


class Takes(nn.Module):
    """Takes so many milliseconds in each run, the last number in all further ones."""

    def __init__(self, *times_ms: int) -> None:
        super().__init__()
        self.times_ms = list(times_ms)

    def forward(self, x: Tensor) -> Tensor:
        time_ms = self.times_ms.pop(0) if len(self.times_ms) > 1 else self.times_ms[0]
        Clock.now_ns += time_ms * 1_000_000
        return x


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (latency_module, timed_module, turns_module):
        monkeypatch.setattr(module, "time", Clock)


class Vandal(nn.Module):
    """Writes into its inputs and draws random numbers."""

    def forward(self, x: Tensor) -> Tensor:
        torch.rand(3)
        x.mul_(2)
        return x


def test_a_real_run_takes_time() -> None:
    latency = measure_latency(nn.Linear(4, 4), torch.zeros(1, 4), **QUICK)
    assert 0 < latency.p50_ms <= latency.p95_ms < 1000 * latency.measuring_s


@pytest.mark.usefixtures("clock")
def test_the_quantiles_are_those_of_the_runs() -> None:
    # 1 warm-up of 50 ms, then 2 ms but for two of 10 runs: the median is short, the tail is long.
    model = Takes(50, *[2] * 8, 20, 20)
    latency = measure_latency(model, torch.zeros(1), warmup_runs=1, min_runs=10, max_seconds=1e-9)
    assert (latency.p50_ms, latency.p95_ms) == (2.0, 20.0)
    assert latency.runs == 10
    assert latency.measuring_s == pytest.approx((50 + 8 * 2 + 2 * 20) / 1000)


def test_the_conditions_are_reported() -> None:
    latency = measure_latency(nn.Linear(4, 2).double(), torch.zeros(7, 4), **QUICK)
    assert (latency.batch_size, latency.device, latency.dtype) == (7, "cpu", "float64")
    assert latency.threads == torch.get_num_threads()


def test_a_model_without_parameters_reports_the_type_of_its_inputs() -> None:
    latency = measure_latency(nn.ReLU(), torch.zeros(2, dtype=torch.bfloat16), **QUICK)
    assert (latency.device, latency.dtype) == ("cpu", "bfloat16")


def test_runs_alternate_between_the_models() -> None:
    Recorder.calls.clear()
    models = [Recorder("a"), Recorder("b")]
    turns = measure_in_turns(models, torch.zeros(1), warmup_runs=1, min_runs=3, max_seconds=1e-9)
    assert Recorder.calls == ["a", "b"] * (1 + 3) + ["a", "b"]  # the last for the peak memory
    assert [latency.runs for latency in turns.latencies] == [3, 3]
    assert turns.runs_ms.shape == (3, 2)


@pytest.mark.usefixtures("clock")
def test_each_latency_belongs_to_its_model() -> None:
    turns = measure_in_turns([Takes(5), Takes(1), Takes(2)], torch.zeros(1), **QUICK)
    assert [latency.p50_ms for latency in turns.latencies] == [5.0, 1.0, 2.0]
    assert [turns.speedup(after).ratio for after in (1, 2)] == [5.0, 2.5]


@pytest.mark.usefixtures("clock")
def test_runs_go_on_until_the_time_is_used_up() -> None:
    options: dict[str, Any] = {"warmup_runs": 1, "min_runs": 1, "max_seconds": 0.2}
    assert measure_latency(Takes(2), torch.zeros(1), **options).runs == 200 / 2


@pytest.mark.usefixtures("clock")
def test_a_fast_model_stops_at_1000_runs() -> None:
    latency = measure_latency(
        nn.Identity(), torch.zeros(1), warmup_runs=0, min_runs=1, max_seconds=60
    )
    assert latency.runs == 1000


@pytest.mark.parametrize("training", [True, False])
def test_flags_counters_and_statistics_stay_as_they_are(training: bool) -> None:
    model = nn.Sequential(nn.Linear(3, 3), nn.BatchNorm1d(3), nn.Dropout(0.5)).train(training)
    model[1].eval()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    flags = [module.training for module in model.modules()]
    measure_latency(model, torch.randn(4, 3), **QUICK)
    assert [module.training for module in model.modules()] == flags
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert all(parameter.grad is None for parameter in model.parameters())


def test_random_state_and_inputs_stay_as_they_are() -> None:
    x = torch.ones(2)
    state = torch.get_rng_state()
    measure_latency(Vandal(), x, **QUICK)
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(x, torch.ones(2))


def test_every_run_sees_the_same_inputs_in_eval_mode_without_gradients() -> None:
    class Witness(nn.Module):
        seen: ClassVar[list[tuple[float, bool, bool]]] = []

        def forward(self, x: Tensor) -> Tensor:
            self.seen.append((x.item(), self.training, torch.is_grad_enabled()))
            return x.mul_(2)

    measure_latency(Witness(), torch.ones(1), warmup_runs=1, min_runs=3, max_seconds=1e-9)
    assert Witness.seen == [(1.0, False, False)] * (1 + 3 + 1)  # the last for the peak memory


def test_inputs_follow_the_type_of_the_model() -> None:
    latency = measure_latency(nn.Linear(4, 2).to(torch.bfloat16), {"input": torch.zeros(1, 4)})
    assert latency.dtype == "bfloat16"


def test_a_latency_prints_as_a_table() -> None:
    latency = Latency(1.5, 2.25, 20, 8, "cpu", "float32", 2, 0.1, peak_bytes=12_000)
    assert latency.samples_per_s == 8 / 0.0015
    assert str(latency).splitlines() == [
        " latency  p95 ms  samples/s     peak  runs  batch  device  dtype    threads  backend",
        "--------  ------  ---------  -------  ----  -----  ------  -------  -------  -------",
        "1.500 ms   2.250     5.33 k  12.0 kB    20      8  cpu     float32        2  eager",
    ]


def test_the_peak_memory_is_that_of_the_results_that_live_at_once() -> None:
    # 2 x 4 and 2 x 3 floats live together when the second layer has run, the inputs beside them.
    model = nn.Sequential(nn.Linear(8, 4), nn.Linear(4, 3))
    assert measure_latency(model, torch.zeros(2, 8), **QUICK).peak_bytes == 4 * 2 * (4 + 3)


def test_inputs_are_brought_to_the_batch_asked_for() -> None:
    latency = measure_latency(nn.Linear(4, 2), torch.zeros(3, 4), batch_size=7, **QUICK)
    assert latency.batch_size == 7


def test_threads_are_used_as_asked_and_given_back() -> None:
    class Witness(nn.Module):
        seen: ClassVar[set[int]] = set()

        def forward(self, x: Tensor) -> Tensor:
            self.seen.add(torch.get_num_threads())
            return x

    before = torch.get_num_threads()
    latency = measure_latency(Witness(), torch.zeros(1), threads=before + 1, **QUICK)
    assert latency.threads == before + 1
    assert Witness.seen == {before + 1}
    assert torch.get_num_threads() == before


def test_the_compiled_backend_runs_what_torch_compiles(monkeypatch: pytest.MonkeyPatch) -> None:
    compiled = []

    def stand_in(function: Any, *, dynamic: bool) -> Any:
        compiled.append(function.__name__)
        return function

    monkeypatch.setattr(torch, "compile", stand_in)
    model = nn.Linear(4, 2)
    latency = measure_latency(model, torch.zeros(1, 4), backend="compile", **QUICK)
    assert compiled == ["forward"]
    assert (latency.backend, latency.peak_bytes) == ("compile", None)
    assert "forward" not in vars(model)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"warmup_runs": -1}, "Expected `warmup_runs` to be an integer of at least 0, but got -1"),
        ({"min_runs": 0}, "Expected `min_runs` to be an integer of at least 1, but got 0"),
        (
            {"max_seconds": 0.0},
            "Expected `max_seconds` to be a finite number greater than 0, but got 0.0",
        ),
        (
            {"max_seconds": float("nan")},
            "Expected `max_seconds` to be a finite number greater than 0, but got nan",
        ),
        ({"batch_size": 0}, "Expected `batch_size` to be an integer of at least 1, but got 0"),
        ({"threads": 0}, "Expected `threads` to be an integer of at least 1, but got 0"),
        ({"backend": "fast"}, "Expected `backend` to be 'eager', 'compile', 'cuda_graph'"),
    ],
    ids=["warmup_runs", "min_runs", "max_seconds", "nan", "batch_size", "threads", "backend"],
)
def test_arguments_out_of_range_are_refused(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        measure_latency(nn.Identity(), torch.zeros(1), **arguments)


def test_no_models_are_refused() -> None:
    with pytest.raises(ValueError, match="Expected `models` to hold at least one module"):
        measure_in_turns([], torch.zeros(1))


def test_inputs_that_do_not_fit_are_named() -> None:
    with pytest.raises(ExampleInputsError, match=r"Linear.forward.*\(1, 5\)"):
        measure_latency(nn.Linear(4, 2), torch.zeros(1, 5))


@pytest.mark.skipif(not torch.accelerator.is_available(), reason="needs an accelerator")
def test_an_accelerator_is_synchronised_and_keeps_its_random_state() -> None:
    device = torch.accelerator.current_accelerator()
    module = torch.get_device_module(device)
    model = nn.Sequential(nn.Linear(2048, 2048), nn.Dropout()).to(device)
    state = module.get_rng_state()
    latency = measure_latency(model, torch.randn(2048, 2048), **QUICK)
    assert latency.device.startswith(str(device))
    assert torch.equal(module.get_rng_state(), state)
